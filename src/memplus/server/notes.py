"""What a server knows of a memory as it travels in an exported file: metadata, its own and that of
writes. Read again, each field is checked as everything in such a file is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from memplus.memory.checks import Count, Fields, Items, Text, WriteId, checked, parsed
from memplus.server.calls import Call

__all__ = ["Notes"]

_FILE = "notes"
_Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class _Call(Fields):
    id: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
    digest: Annotated[str, Field(max_length=64)]
    source: Text
    start: Count
    tokens: Count
    writes: Items[WriteId]
    metadata: Annotated[_Metadata, Field(max_length=16)]


class _Content(Fields):
    version: Literal[1]
    metadata: Annotated[_Metadata, Field(max_length=16)]
    calls: Items[_Call]


@dataclass(frozen=True)
class Notes:
    """Of one memory."""

    metadata: dict[str, str]
    calls: Sequence[Call] = ()
    """Those with metadata."""

    def content(self) -> bytes:
        """As it lies in the file; empty where there is nothing to note."""
        if not (self.metadata or self.calls):
            return b""
        names = _Call.model_fields
        calls = [{name: getattr(call, name) for name in names} for call in self.calls]
        return json.dumps({"version": 1, "metadata": self.metadata, "calls": calls}).encode()

    @classmethod
    def of(cls, content: bytes, path: Path) -> Notes:
        """Read them again.

        Raises:
            CorruptMemoryError: they are not what ``content`` gives; names the field of ``path``.
        """
        if not content:
            return cls({})
        found = checked(_Content, parsed(content, path, _FILE), path, _FILE)
        calls = [
            Call(
                one.id, one.digest, one.source, one.start, one.tokens, tuple(one.writes),
                one.metadata,
            )
            for one in found.calls
        ]  # fmt: skip
        return cls(found.metadata, calls)
