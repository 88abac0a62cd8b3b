"""Documents out of a data set of the Hugging Face hub, read as a stream.

The odd thing: asking a stream for its state takes long, so a place is the last state that was asked
for and the rows behind it, which are read again and thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hipgpt_cli.data_documents import (
    INSTALL,
    Document,
    encodable,
    first_line,
    grouped,
    no_column,
    string_in,
)
from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_cli.data_documents import Chunk


_ROWS_BETWEEN_MARKS = 1000
"""Rows of a stream after which its state is asked for again, which takes a while."""


class HubSource:
    """A data set of the Hugging Face hub, or a local folder that `datasets` can load, streamed.

    Args:
        name: such as HuggingFaceFW/fineweb-edu, or a folder.
        config: which of its configurations; None is the default.
        split: such as train.
        column: the column that holds the text.
        revision: a commit, tag or branch; None is the newest.

    Raises:
        UserError: `datasets` is not installed, or the data set cannot be had.
    """

    def __init__(
        self, name: str, config: str | None, split: str, column: str, revision: str | None
    ) -> None:
        self.name, self.config, self.split, self.column = name, config, split, column
        self.revision = revision
        self._rows = self._open()

    @property
    def total(self) -> int:
        """Rows, where the data set says how many it has."""
        splits = getattr(self._rows.info, "splits", None) or {}
        return int(splits[self.split].num_examples or 0) if self.split in splits else 0

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`."""
        return {
            "hub": self.name,
            "config": self.config,
            "split": self.split,
            "revision": self.revision,
            "text_column": self.column,
        }

    def documents(self, start: Any) -> Iterator[Document]:
        """See `Source.documents`; a place is [rows read, state of the stream, rows behind it]."""
        done, state, behind = start or (0, None, 0)
        rows = self._rows
        if state is not None:
            rows.load_state_dict(state)
        mark, since = state, 0
        for row in self._iterate(rows):
            since += 1
            if since > behind:
                done += 1
                text = string_in(row.get(self.column), f"{self.name}, row {done:,}", self.column)
                if text.strip():
                    yield Document(encodable(text), [done, mark, since], done)
            if since >= _ROWS_BETWEEN_MARKS:
                mark, since, behind = rows.state_dict(), 0, 0

    def chunks(self, start: Any) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        return grouped(self.documents(start))

    def _open(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise UserError(f"--hf needs the package datasets: {INSTALL}") from error
        try:
            rows = datasets.load_dataset(
                self.name, self.config, split=self.split, revision=self.revision, streaming=True
            )
        except Exception as error:
            raise UserError(f"{self.name} cannot be loaded by datasets: {first_line(error)}") from (
                error
            )
        columns = rows.column_names
        if columns is not None and self.column not in columns:
            raise UserError(no_column(self.name, self.column, columns))
        return rows if columns is None else rows.select_columns([self.column])

    def _iterate(self, rows: Any) -> Iterator[dict[str, Any]]:
        iterator = iter(rows)
        while True:
            try:
                row = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                raise UserError(
                    f"reading {self.name} failed: {first_line(error)}; the same command goes on "
                    "from here"
                ) from error
            yield row
