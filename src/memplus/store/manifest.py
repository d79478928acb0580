"""The manifest: what a memory consists of, in one small file that is replaced in one step.

Whatever lies in a memory's folder and is not named here does not exist. One line with a checksum
stands before the JSON, so that any changed byte is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.memory.checks import COUNT, Count, Fields, Items, Text, Time, checked, parsed, require
from memplus.memory.packing import RowKind
from memplus.store.disk import Disk, read

__all__ = ["NAME", "VERSION", "Generation", "LogPart", "Manifest", "SegmentEntry"]

NAME = "manifest"
VERSION = 3
_MAGIC = "memplus-memory"
FILE_NAME = r"^(segment|snapshot|log|journal)-[0-9a-f]{16}$"
"""What every file of a memory but the manifest is called."""

Migration = Callable[[dict[str, Any]], None]


def _journal_has_a_version(values: dict[str, Any]) -> None:
    """Version 1 to 2: no field differs; the journal's checksums do, which version 1 cannot read."""


def _rows_have_kinds(values: dict[str, Any]) -> None:
    """Version 2 to 3: no field differs; rows may be in 4 bits, about a centre."""


MIGRATIONS: dict[int, Migration] = {1: _journal_has_a_version, 2: _rows_have_kinds}
"""Version -> what turns a manifest's JSON into the next one, in place."""


def _named(kind: str) -> str:
    """What files of a kind are called, as an expression."""
    return f"^{kind}-[0-9a-f]{{16}}$"


@dataclass(frozen=True)
class SegmentEntry:
    """One segment of the long-term memory."""

    name: str
    rows: list[int]
    """Per layer: how many of its rows belong to the memory, from the first on."""


@dataclass(frozen=True)
class LogPart:
    """The part of a log that counts."""

    name: str
    length: int


@dataclass(frozen=True)
class Generation:
    """A whole state, and the writes logged after it."""

    snapshot: str
    physical: list[int]
    """Per layer: rows of the segments, from the first on, that the snapshot knows."""
    logs: list[LogPart] = field(default_factory=list)

    @property
    def logged(self) -> int:
        """Bytes to read after the snapshot."""
        return sum(part.length for part in self.logs)


@dataclass(frozen=True)
class Manifest:
    """What a memory consists of."""

    id: str
    model: str
    """Name of the model, for people."""
    fingerprint: str
    identity: dict[str, str]
    config: dict[str, Any]
    journal: str
    rows: str = "exact"
    """How long-term rows are kept: ``exact``, ``int8`` or ``int4``."""
    created: float = 0.0
    changed: float = 0.0
    commit: int = 0
    """Number of the last commit; journal rows of later ones do not exist."""
    writes: int = 0
    tokens: int = 0
    waiting: int = 0
    """Tokens in the tail."""
    log_open: bool = False
    """Whether the last log may grow; otherwise the next commit begins a new one."""
    segments: list[SegmentEntry] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    """The last one is the memory's state; earlier ones are its history."""

    @property
    def current(self) -> Generation:
        """The memory's state."""
        return self.generations[-1]

    def files(self) -> set[str]:
        """Every file named here, the journal's own companions left out."""
        names = {self.journal} | {segment.name for segment in self.segments}
        for generation in self.generations:
            names |= {generation.snapshot} | {part.name for part in generation.logs}
        return names

    def save(self, folder: Path, disk: Disk) -> None:
        """Put it in place of the one before."""
        self.save_aside(folder, disk)
        self.settle(folder, disk)

    def save_aside(self, folder: Path, disk: Disk) -> None:
        """The first half: on the disk, but not yet true."""
        disk.put_aside(self.content(), folder / f".{NAME}")

    @staticmethod
    def settle(folder: Path, disk: Disk) -> None:
        """The second half: what was saved aside is what the memory is."""
        disk.put_in_place(folder / f".{NAME}", folder / NAME)

    def content(self) -> bytes:
        """As it lies on the disk."""
        # Written at every commit, and `asdict` would copy each list of rows.
        values = vars(self) | {
            "segments": [vars(segment) for segment in self.segments],
            "generations": [
                vars(one) | {"logs": [vars(part) for part in one.logs]} for one in self.generations
            ],
        }
        text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        body = text.encode("utf-8", "surrogatepass")
        return f"{_MAGIC} {VERSION} {_digest(VERSION, body)}\n".encode() + body

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read and check the manifest in a folder.

        Raises:
            FileNotFoundError: there is none.
            CorruptMemoryError, MemoryVersionError.
        """
        path = folder / NAME
        with read(path) as file:
            content = file.read()
        line, _, body = content.partition(b"\n")
        words = line.decode("ascii", "replace").split(" ")
        if len(words) != 3 or words[0] != _MAGIC or not words[1].isdecimal():
            raise CorruptMemoryError(path, reason="it does not begin as it should")
        version = int(words[1]) if len(words[1]) < 9 else COUNT
        if words[2] != _digest(version, body):
            raise CorruptMemoryError(path, reason="its checksum differs")
        if not 1 <= version <= VERSION:
            raise MemoryVersionError(path, found=version, supported=VERSION)
        values = parsed(body, path, NAME)
        require(isinstance(values, dict), path, NAME, "is not an object")
        for step in range(version, VERSION):
            MIGRATIONS[step](values)
        return _made_of(checked(_Content, values, path, NAME), path)


class _Segment(Fields):
    """``SegmentEntry`` as JSON."""

    name: Annotated[str, Field(pattern=_named("segment"))]
    rows: Annotated[Items[Count], Field(min_length=1)]


class _Part(Fields):
    """``LogPart`` as JSON."""

    name: Annotated[str, Field(pattern=_named("log"))]
    length: Count


class _Generation(Fields):
    """``Generation`` as JSON."""

    snapshot: Annotated[str, Field(pattern=_named("snapshot"))]
    physical: Items[Count]
    logs: Items[_Part]


class _Content(Fields):
    """``Manifest`` as JSON."""

    id: Text
    model: Text
    fingerprint: Text
    identity: dict[Text, Text]
    config: dict[str, Any]
    journal: Annotated[str, Field(pattern=_named("journal"))]
    rows: RowKind
    created: Time
    changed: Time
    commit: Count
    writes: Annotated[int, Field(ge=0, lt=1 << 31)]
    tokens: Count
    waiting: Count
    log_open: bool
    segments: Items[_Segment]
    generations: Annotated[Items[_Generation], Field(min_length=1)]


def _made_of(content: _Content, path: Path) -> Manifest:
    """A manifest whose rows fit together."""
    segments = [SegmentEntry(one.name, one.rows) for one in content.segments]
    layers = len(segments[0].rows) if segments else None
    held = [sum(rows) for rows in zip(*(one.rows for one in segments))]
    for index, segment in enumerate(segments):
        field = f"{NAME}.segments.{index}.rows"
        require(len(segment.rows) == layers, path, field, f"has not {layers} layers")
    generations: list[Generation] = []
    for index, one in enumerate(content.generations):
        field = f"{NAME}.generations.{index}.physical"
        known = held or [0] * len(one.physical)
        fits = not one.physical or len(one.physical) == len(known)
        require(fits, path, field, f"has {len(one.physical)} layers, not {layers}")
        for want, have in zip(one.physical, known):
            require(want <= have, path, field, f"counts {want} rows, with {have} in the segments")
        logs = [LogPart(part.name, part.length) for part in one.logs]
        generations.append(Generation(one.snapshot, one.physical, logs))
    last = generations[-1].physical or [0] * len(held)
    whole = not held or last == held
    require(whole, path, f"{NAME}.generations.-1.physical", f"is {last}, not {held}")
    values = {name: getattr(content, name) for name in _Content.model_fields}
    return Manifest(**values | {"segments": segments, "generations": generations})


def _digest(version: int, body: bytes) -> str:
    return hashlib.sha256(f"{version}\n".encode() + body).hexdigest()
