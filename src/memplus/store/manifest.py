"""The manifest: what a memory consists of, in one small file that is replaced in one step.

Whatever lies in a memory's folder and is not named here does not exist. One line with a checksum
stands before the JSON, so that any changed byte is found.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.store.disk import Disk, read

__all__ = ["NAME", "VERSION", "Generation", "LogPart", "Manifest", "SegmentEntry"]

NAME = "manifest"
VERSION = 1
_MAGIC = "memplus-memory"
FILE_NAME = r"^(segment|snapshot|log|journal)-[0-9a-f]{16}$"
"""What every file of a memory but the manifest is called."""
_OURS = re.compile(FILE_NAME)

Migration = Callable[[dict[str, Any]], None]
MIGRATIONS: dict[int, Migration] = {}
"""Version -> what turns a manifest's JSON into the next one, in place."""


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
    """How long-term rows are kept: ``exact`` or ``int8``."""
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
        body = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
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
        if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit():
            raise CorruptMemoryError(path, reason="it does not begin as it should")
        version = int(words[1])
        if words[2] != _digest(version, body):
            raise CorruptMemoryError(path, reason="its checksum differs")
        if not 1 <= version <= VERSION:
            raise MemoryVersionError(path, found=version, supported=VERSION)
        try:
            values = json.loads(body)
            for step in range(version, VERSION):
                MIGRATIONS[step](values)
            return cls._made_of(values)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptMemoryError(path, reason=f"its content is wrong ({error})") from error

    @classmethod
    def _made_of(cls, values: dict[str, Any]) -> Manifest:
        values["segments"] = [SegmentEntry(**entry) for entry in values["segments"]]
        values["generations"] = [
            Generation(**{**one, "logs": [LogPart(**part) for part in one["logs"]]})
            for one in values["generations"]
        ]
        made = cls(**values)
        if not all(_is_safe(name) for name in made.files()) or not made.generations:
            raise ValueError("a file's name is none of ours")
        return made


def _is_safe(name: object) -> bool:
    return isinstance(name, str) and _OURS.fullmatch(name) is not None


def _digest(version: int, body: bytes) -> str:
    return hashlib.sha256(f"{version}\n".encode() + body).hexdigest()
