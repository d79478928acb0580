"""The manifest: what a memory consists of, in one small file that is replaced in one step.

Whatever lies in a memory's folder and is not named here does not exist. One line with a checksum
stands before the JSON, so that any changed byte is found.

A memory that several machines share has a chain of manifests instead, ``manifest-<birth>-<n>``, of
which the last is true and the next is made by whoever links its name first: a commit of a writer
that has been replaced meanwhile finds its name taken. The file ``manifest`` is the first of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from memplus.errors import CorruptMemoryError, LeaseLostError, MemoryVersionError, StorageError
from memplus.memory.checks import COUNT, Count, Fields, Items, Text, Time, checked, parsed, require
from memplus.memory.packing import RowKind
from memplus.store.disk import Disk, read

__all__ = [
    "NAME",
    "VERSION",
    "Generation",
    "Hold",
    "LogPart",
    "Manifest",
    "SegmentEntry",
    "digest_of",
    "keep_taken",
    "named_in",
    "retire",
]

NAME = "manifest"
VERSION = 5
_LOOKS = 100
"""How often a chain is listed while its last link goes on growing."""
_MAGIC = "memplus-memory"
_DIGITS = 16
FILE_NAME = r"^(segment|snapshot|log|journal)-[0-9a-f]{16}$"
"""What every file of a memory but the manifest is called."""

Migration = Callable[[dict[str, Any]], None]


def _journal_has_a_version(values: dict[str, Any]) -> None:
    """Version 1 to 2: no field differs; the journal's checksums do, which version 1 cannot read."""


def _rows_have_kinds(values: dict[str, Any]) -> None:
    """Version 2 to 3: no field differs; rows may be in 4 bits, about a centre."""


def _may_be_held(values: dict[str, Any]) -> None:
    """Version 3 to 4: ``hold`` may say who writes; without it no field differs."""


def _journal_has_an_index(values: dict[str, Any]) -> None:
    """Version 4 to 5: no commit's number is given a second time (``numbered``); readers of version
    4, which would take the journal for damaged, are told of the version first."""


MIGRATIONS: dict[int, Migration] = {
    1: _journal_has_a_version,
    2: _rows_have_kinds,
    3: _may_be_held,
    4: _journal_has_an_index,
}
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
class Hold:
    """Who writes a memory that several machines share."""

    epoch: int = 0
    """Grows by one with every writer."""
    sequence: int = 0
    """Grows by one with every manifest; the number in the file's name."""
    owner: str = ""
    """The last writer, for people."""
    session: str = ""
    """The same for programs: 16 hex digits of one store object."""
    held: bool = False
    """Whether that writer is at work still, as far as it said."""
    seized: bool = False
    """Whether this manifest began the epoch of a writer whose predecessor had not let go: that one
    may wake up at any time and look for exactly this name, which must stay taken for ever."""
    after: str = ""
    """In a manifest that began an epoch: the SHA-256 of the one before. Until the next one follows
    it is true only if that one is still there. Otherwise its writer stood still before it put this
    in place, under a name that others had taken and given up meanwhile."""

    def next(self) -> Hold:
        """Of the next manifest of the same writer."""
        return replace(self, sequence=self.sequence + 1, seized=False, after="")


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
    """How long-term rows are kept: ``exact``, ``int8``, ``int4`` or ``int2``."""
    created: float = 0.0
    changed: float = 0.0
    commit: int = 0
    """Number of the last commit; journal rows of later ones do not exist."""
    numbered: int = 0
    """The largest number of a commit that was taken back: none is given a second time."""
    writes: int = 0
    tokens: int = 0
    waiting: int = 0
    """Tokens in the tail."""
    log_open: bool = False
    """Whether the last log may grow; otherwise the next commit begins a new one."""
    segments: list[SegmentEntry] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    """The last one is the memory's state; earlier ones are its history."""
    hold: Hold | None = None
    """None: only this machine writes, and a lock says who."""

    @property
    def place(self) -> str:
        """The name of its file."""
        if self.hold is None or not self.hold.sequence:
            return NAME
        return f"{self.chain}{self.hold.sequence}"

    @property
    def chain(self) -> str:
        """What the names of all manifests of this memory begin with, and of no other memory that
        had its name before or will have it later."""
        birth = hashlib.sha256(f"{self.id} {self.created!r}".encode("utf-8", "surrogatepass"))
        return f"{NAME}-{birth.hexdigest()[:16]}-"

    @property
    def current(self) -> Generation:
        """The memory's state."""
        return self.generations[-1]

    @property
    def log_lengths(self) -> dict[str, int]:
        """How much of each log counts, by its name."""
        return {part.name: part.length for one in self.generations for part in one.logs}

    def files(self) -> set[str]:
        """Every file named here, the journal's own companions left out."""
        names = {self.journal, *self.log_lengths} | {one.name for one in self.segments}
        return names | {generation.snapshot for generation in self.generations}

    def save(self, folder: Path, disk: Disk) -> None:
        """Put it in place of the one before.

        Raises:
            LeaseLostError: another writer has put its own there.
        """
        aside = folder / f".{NAME}-{secrets.token_hex(8)}"
        self.save_aside(aside, disk)
        self.settle(aside, disk)

    def save_aside(self, aside: Path, disk: Disk) -> None:
        """The first half: on the disk, but not yet true; ``aside`` is a name that nobody else has,
        neither another writer nor a commit of this one that was interrupted and is still at it."""
        disk.put_aside(self.content(), aside)

    def settle(self, aside: Path, disk: Disk) -> None:
        """The second half: what was saved aside is what the memory is.

        Raises:
            LeaseLostError: another writer has put its own there.
        """
        if self.place == NAME:
            disk.put_in_place(aside, aside.with_name(NAME))
        elif not disk.claim(aside, aside.with_name(self.place)):
            with contextlib.suppress(OSError):
                disk.remove(aside)
            raise LeaseLostError(self.id)

    def content(self) -> bytes:
        """As it lies on the disk."""
        # Written at every commit, and `asdict` would copy each list of rows.
        values = {name: value for name, value in vars(self).items() if name != "hold"} | {
            "segments": [vars(segment) for segment in self.segments],
            "generations": [
                vars(one) | {"logs": [vars(part) for part in one.logs]} for one in self.generations
            ],
        }
        if self.hold is not None:
            values["hold"] = vars(self.hold)
        text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        body = text.encode("utf-8", "surrogatepass")
        return f"{_MAGIC} {VERSION} {_digest(VERSION, body)}\n".encode() + body

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read and check the manifest in a folder, the last one of a chain.

        Raises:
            FileNotFoundError: there is none.
            CorruptMemoryError, MemoryVersionError.
            StorageError: another machine changes it faster than it can be read.
        """
        first = cls._read(folder / NAME)
        if first.hold is None:
            return first
        # A number is taken away only after the next one was there, the smallest first. So if the
        # largest of a list can be read after it was listed, none above it was there when the list
        # was begun: it is what the memory was at some moment since.
        for _ in range(_LOOKS):
            last = max(first.numbers(folder), default=0)
            if not last:
                return first
            path = folder / f"{first.chain}{last}"
            with contextlib.suppress(FileNotFoundError, _TakenForEverError):
                found = cls._read(path)
                same = found.hold is not None and found.place == path.name and found.id == first.id
                require(same, path, NAME, "is of another place")
                if found.is_true(folder):
                    return found
        raise StorageError(folder, reason="it changes faster than it can be read")

    def is_true(self, folder: Path) -> bool:
        """Whether it followed what was last when it was put in place; see ``Hold.after``."""
        if self.hold is None or not self.hold.after:
            return True
        earlier = replace(self, hold=replace(self.hold, sequence=self.hold.sequence - 1))
        try:
            return digest_of(folder / earlier.place) == self.hold.after
        except FileNotFoundError:
            return False

    def numbers(self, folder: Path) -> list[int]:
        """The numbers of the chain whose names are taken, in order."""
        found = [name.removeprefix(self.chain) for name in os.listdir(folder)]
        return sorted(int(one) for one in found if one.isdecimal() and len(one) < _DIGITS)

    def retire_earlier(self, folder: Path, disk: Disk) -> None:
        """Take away all that lies in the chain before this one, the earliest first."""
        assert self.hold is not None
        for number in self.numbers(folder):
            if number < self.hold.sequence:
                with contextlib.suppress(FileNotFoundError, _TakenForEverError):
                    retire(self._read(folder / f"{self.chain}{number}"), folder, disk)

    @classmethod
    def _read(cls, path: Path) -> Manifest:
        with read(path) as file:
            content = file.read()
        if not content and path.name != NAME:
            raise _TakenForEverError
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


def named_in(folder: Path) -> str:
    """The name of a folder's memory, with nothing checked; whoever needs more loads all of it.

    Raises:
        OSError: there is no manifest, or it cannot be read.
        ValueError, KeyError, TypeError: it is damaged.
    """
    with read(folder / NAME) as file:
        _, _, body = file.read().partition(b"\n")
    name = json.loads(body)["id"]
    if not isinstance(name, str):
        raise TypeError
    return name


def retire(manifest: Manifest, folder: Path, disk: Disk) -> None:
    """Take away a manifest of a chain that another one has followed; earlier ones are gone."""
    if manifest.hold is None or manifest.place == NAME:
        return  # the first of a chain tells that there is one
    if manifest.hold.seized or manifest.hold.sequence == 1:
        keep_taken(folder / manifest.place, disk)
    else:
        disk.remove(folder / manifest.place)


def keep_taken(path: Path, disk: Disk) -> None:
    """Leave nothing of a manifest of a chain but its name, so that nobody gets it."""
    if path.stat().st_size:
        aside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        disk.put_aside(b"", aside)
        disk.put_in_place(aside, path)


def digest_of(path: Path) -> str:
    """The SHA-256 of a manifest's file."""
    with read(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


class _TakenForEverError(Exception):
    """A name of the chain that is kept only so that nobody takes it."""


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


class _Hold(Fields):
    """``Hold`` as JSON."""

    epoch: Count
    sequence: Count
    owner: Text
    session: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")]
    held: bool
    seized: bool
    after: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


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
    hold: _Hold | None = None
    numbered: Count = 0


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
    hold = None if content.hold is None else Hold(**content.hold.model_dump())
    return Manifest(**values | {"segments": segments, "generations": generations, "hold": hold})


def _digest(version: int, body: bytes) -> str:
    return hashlib.sha256(f"{version}\n".encode() + body).hexdigest()
