"""What a journal keeps of a write, and what stays of it when it is forgotten."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from memplus.memory.checks import Count, Fields, Text, Time, WriteId

__all__ = ["NOTHING", "Erased", "Sum", "WriteRow"]

Sum = Annotated[int, Field(ge=0, lt=1 << 32)]
"""A checksum."""


class WriteRow(Fields):
    """A row of ``writes``."""

    id: WriteId
    commit_number: Count
    source: Text
    start: Count
    tokens: Count
    """0: it says no more than where its source goes on."""
    first_char: Count
    time: Time
    text: Text
    ids: bytes
    crc: Sum


@dataclass(frozen=True)
class Erased:
    """Writes that are taken out of a journal."""

    ids: Container[int] = ()
    going_on: Container[str] | None = None
    """Sources whose later writes are counted from where the last one ended; None: all."""

    def left(self, rows: Iterable[WriteRow], last: Container[int]) -> Iterator[WriteRow]:
        """What stays of rows: those of other writes.

        Of the last one of a source that goes on stays the place where it ended: how many
        characters the source has had is told nowhere else.

        Args:
            rows: of a journal.
            last: ids of the last write of every source.
        """
        for row in rows:
            if row.id not in self.ids and row.tokens:
                yield row
            elif row.id in last and (self.going_on is None or row.source in self.going_on):
                first = row.first_char + len(row.text)
                place = {"start": row.start + row.tokens, "first_char": first, "tokens": 0}
                yield row.model_copy(update=place | {"text": "", "ids": b"", "time": 0.0})


NOTHING = Erased()
