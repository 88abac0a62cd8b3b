"""From documents to a folder of shards: read here, encode in processes, write here, in order.

The odd thing: the result depends on the documents and the settings alone. How many processes there
were, and how often it was killed, leaves no trace in any byte.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_cli import human
from hipgpt_cli.data_encoding import Encoder, encode_chunk, passages
from hipgpt_cli.data_writer import ShardWriter, State, clear, write_manifest
from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hipgpt_cli.data_documents import Source
    from hipgpt_model.data_manifest import Manifest
    from hipgpt_tokenizer import Tokenizer


@dataclass(frozen=True)
class Settings:
    """How data is prepared.

    Attributes:
        validation: the part of the text that is for validation.
        shard_tokens: ids in every shard but the last of its split.
        max_tokens: stop after the chunk of text in which so many are reached; 0 is never.
    """

    validation: float
    shard_tokens: int
    max_tokens: int = 0


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        manifest: of the folder.
        size: bytes of text that were encoded, in this call.
        seconds: that it took.
        resumed: whether it went on from an earlier call.
    """

    manifest: Manifest
    size: int
    seconds: float
    resumed: bool


class SampleText:
    """The first texts for training of a source, as a corpus for a tokenizer to learn from.

    Args:
        source: where they come from.
        size: bytes, at least; the source may have fewer.
        fraction: of the texts that are for validation, which the tokenizer does not see.
    """

    def __init__(self, source: Source, size: int, fraction: float) -> None:
        self.source, self.size, self.fraction = source, size, fraction

    def parts(self) -> Iterator[tuple[str, bool]]:
        """Yield (text, True): the texts in order."""
        left = self.size
        for document in self.source.documents(None):
            for held_out, text in passages(
                document.text, self.fraction, in_sections=document.in_sections
            ):
                if not held_out:
                    yield text, True
                    left -= len(text.encode("utf-8"))
            if left <= 0:
                return


def prepare(
    source: Source,
    tokenizer: Tokenizer,
    folder: Path,
    settings: Settings,
    *,
    workers: int = 0,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> Prepared:
    """Encode all documents into shards, or go on where an earlier call was stopped.

    Args:
        source: the documents.
        tokenizer: with an <|endoftext|>.
        folder: with nothing of a preparation in it, or with the state of this one.
        settings: how.
        workers: processes; 0 is one a core.
        progress: called with ("encode", read, total, a few words on how it goes).

    Raises:
        UserError: the source cannot be read, or gives no text for one of the splits.
    """
    from hipgpt_tokenizer.parallel import ordered_map, worker_count

    state = State(folder, _identity(source, tokenizer, settings))
    resumed, size_before, begun = state.after is not None, state.size, time.perf_counter()
    writers = [
        ShardWriter(folder, split, tokenizer, settings.shard_tokens, state.splits.get(split, {}))
        for split in ("train", "validation")
    ]

    def kept() -> dict[str, Any]:
        return {writer.split: writer.kept() for writer in writers}

    after, size = state.after, state.size
    try:
        encoder = Encoder(tokenizer, settings.validation)
        for encoded in ordered_map(
            encode_chunk, encoder, source.chunks(after), worker_count(workers)
        ):
            if settings.max_tokens and _tokens(writers) >= settings.max_tokens:
                break
            for writer, ids in zip(writers, encoded.ids, strict=True):
                writer.write(ids)
            after, size = encoded.after, size + encoded.size
            if state.due():
                state.write(after, size, kept())
            if progress:
                seconds = time.perf_counter() - begun
                note = (
                    f"{human.short(_tokens(writers))} tokens, "
                    f"{human.size((size - size_before) / seconds)}/s"
                )
                progress("encode", encoded.read, source.total, note)
        entries = [writer.finish() for writer in writers]
    except OSError as error:
        if error.filename is None:
            error.filename = str(folder)
        raise
    finally:
        for writer in writers:
            writer.close()
    _check(entries, settings, folder)
    manifest = _manifest(source, tokenizer, settings, [*entries[0], *entries[1]])
    write_manifest(folder, manifest.to_json())
    return Prepared(manifest, size - size_before, time.perf_counter() - begun, resumed)


def _identity(source: Source, tokenizer: Tokenizer, settings: Settings) -> dict[str, Any]:
    """Everything that decides the bytes, by a name that can be told to people."""
    return {
        "source": source.identity(),
        "tokenizer": tokenizer.fingerprint,
        "validation_part": settings.validation,
        "size_of_shards": settings.shard_tokens,
        "limit_of_tokens": settings.max_tokens,
    }


def _tokens(writers: list[ShardWriter]) -> int:
    return sum(writer.tokens + sum(entry.tokens for entry in writer.entries) for writer in writers)


def _check(entries: list[Any], settings: Settings, folder: Path) -> None:
    if entries[0] and entries[1]:
        return
    empty = "validation" if entries[0] else "training"
    both = not entries[0] and not entries[1]
    clear(folder)
    if both:
        raise UserError("there is no text in what was given")
    raise UserError(
        f"of this text nothing fell to {empty} (--validation is {settings.validation:g}); with so "
        "few documents another part is needed, such as --validation 0.1, or more text"
    )


def _manifest(
    source: Source, tokenizer: Tokenizer, settings: Settings, entries: list[Any]
) -> Manifest:
    from hipgpt_model.data_manifest import Manifest

    read = {**source.identity(), "max_tokens": settings.max_tokens}
    return Manifest(
        "uint16" if tokenizer.typecode == "H" else "uint32",
        tokenizer.vocab_size,
        tokenizer.eot_id or 0,
        tokenizer.fingerprint,
        read,
        float(settings.validation),
        tuple(entries),
    )
