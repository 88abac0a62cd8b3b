"""The Tokenizer: everything that a program does with text and ids goes through this class.

Odd thing: a tokenizer never changes. What it remembers while encoding is a cache, which is
neither saved, nor compared, nor sent to another process.
"""

from __future__ import annotations

from .encoding import Encoding, Path, Progress
from .model import Model

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any


class Tokenizer(Encoding):
    """A byte-level BPE tokenizer. Made by `train`, `load` or one of the `from_` methods.

    >>> tok = Tokenizer.train("to be or not to be", 260)
    >>> tok.decode(tok.encode("to be"))
    'to be'
    """

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = "gpt2",
        min_frequency: int = 2,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary from a text or from many.

        The merges are those of Hugging Face's BpeTrainer with the same min_frequency. A text
        that yields fewer of them than wanted gives a smaller vocabulary.

        Args:
            texts: A str, or an iterable of str, which is read once. Each is split by itself.
            vocab_size: Ids wanted: 256 bytes, the merges, and the special tokens, which come last.
            special_tokens: Texts that get an id of their own. Where a training text has one in
                it, it separates what stands around it and is not learnt from.
            pattern: "gpt2", or "gpt4" for the split pattern of cl100k.
            min_frequency: Pairs that occur less often are not merged.
            workers: Processes that count pieces, 0 for every core; the result is the same.
            progress: Called with (stage, done, total): stage "count" in characters, total 0
                where it is not known, then stage "merge" in merges.

        >>> Tokenizer.train("low lower lowest", 300).vocab_size
        260
        """
        from .training import train_model

        model = train_model(
            texts, vocab_size, special_tokens, pattern, min_frequency, workers, progress
        )
        return cls(model)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json: Hugging Face's, or the one of the old C++ HipGPT.

        Raises:
            TokenizerFileError: The file is malformed, or means something else than a
                byte-level BPE of a known split pattern; the message names the field.

        >>> Tokenizer.load("tokenizer.json").vocab_size  # doctest: +SKIP
        5000
        """
        from .files import any_json

        return cls(any_json.read(path))

    def save(self, path: Path) -> None:
        """Write Hugging Face's tokenizer.json; the old file stays until the new one is whole.

        >>> Tokenizer.train("low lower", 258).save("tokenizer.json")  # doctest: +SKIP
        """
        from .files import huggingface

        huggingface.write(self._model, path)

    @classmethod
    def from_gpt2(
        cls, vocab: Path, merges: Path, *, special_tokens: Sequence[str] | None = None
    ) -> Tokenizer:
        """Read GPT-2's vocab.json and merges.txt (also named encoder.json and vocab.bpe).

        Args:
            vocab: Path of vocab.json.
            merges: Path of merges.txt.
            special_tokens: Those of the vocabulary's tokens that are special; None stands for
                all that are neither a byte nor the result of a merge.

        >>> Tokenizer.from_gpt2("vocab.json", "merges.txt").eot_id  # doctest: +SKIP
        50256
        """
        from .files import gpt2

        return cls(gpt2.read(vocab, merges, special_tokens))

    def save_gpt2(self, folder: Path) -> tuple[str, str]:
        """Write vocab.json and merges.txt into a folder and return their paths.

        >>> Tokenizer.train("low lower", 258).save_gpt2(".")  # doctest: +SKIP
        ('vocab.json', 'merges.txt')
        """
        from .files import gpt2

        vocab, merges = gpt2.paths(folder)
        gpt2.write(self._model, vocab, merges)
        return vocab, merges

    @classmethod
    def from_tiktoken(
        cls, path: Path, *, pattern: str = "gpt2", special_tokens: Sequence[str] = ()
    ) -> Tokenizer:
        """Read a tiktoken rank file, which says neither the pattern nor the special tokens.

        Args:
            path: The file, lines of base64 and rank.
            pattern: "gpt2" for r50k and p50k files, "gpt4" for cl100k's.
            special_tokens: Texts that get the ids after the last rank, in this order.

        >>> Tokenizer.from_tiktoken("r50k_base.tiktoken").vocab_size  # doctest: +SKIP
        50256
        """
        from .files import tiktoken

        return cls(tiktoken.read(path, pattern, special_tokens))

    def save_tiktoken(self, path: Path) -> None:
        """Write a tiktoken rank file, which cannot hold the special tokens.

        >>> Tokenizer.train("low lower", 258).save_tiktoken("low.tiktoken")  # doctest: +SKIP
        """
        from .files import tiktoken

        tiktoken.write(self._model, path)

    @classmethod
    def from_hipgpt_legacy(cls, path: Path) -> Tokenizer:
        """Read the tokenizer.json of the old C++ HipGPT (`stoi_to_token`, `merge_rank`).

        Its ids are kept, and so is its loss: white space between words becomes one space. A
        character that it does not know, which it dropped in silence, raises ValueError.

        >>> Tokenizer.from_hipgpt_legacy("tokenizer.json").pattern  # doctest: +SKIP
        'hipgpt-legacy'
        """
        from .files import any_json

        return cls(any_json.read_legacy(path))

    # ----------------------------------------------------------------------------------------
    # Comparing and sending

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._model == other._model

    def __hash__(self) -> int:
        return hash(self._model)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._model.special))
        return (
            f"<Tokenizer {self.pattern}, {self.vocab_size} ids"
            f"{f', special {names}' if names else ''}, {self.fingerprint[:12]}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (
            self._tokens,
            self._model.merges,
            self._model.special,
            self.pattern,
            self._model.ignore_merges,
        )


def _restore(
    tokens: list[bytes],
    merges: list[tuple[int, int, int]],
    special: dict[str, int],
    pattern: str,
    ignore_merges: bool,
) -> Tokenizer:
    return Tokenizer(Model(tokens, merges, special, pattern, ignore_merges=ignore_merges))
