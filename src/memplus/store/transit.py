"""A memory on its way from one directory to another, and how a move that was cut short is ended.

The copy lies in the new directory as ``.arriving-<hash>``, whole and checked, and takes no writes.
The one step that moves the memory is the rename of its folder in the old directory to
``.moved-<hash>``: before it the memory is there and nowhere else, after it the copy is the memory.
Both folders name each other, so whoever looks for the memory in either directory does what is left:
the copy gets its name, and what it was copied from goes. So does whoever is going to change it:
what is forgotten where it has arrived must not stay where it came from.

Each note also holds the other directory's identity, since what lies at a path may be another
directory today: another disk, or one that is made anew because the disk is not there.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from memplus.store.disk import Disk, read

__all__ = ["ARRIVING", "FROM", "MOVED", "TO", "Note", "abandoned", "end_move", "identity"]

ARRIVING = ".arriving-"
MOVED = ".moved-"
FROM = "from"
"""In a folder that arrives: where it comes from. It stays until that is gone."""
TO = "moved"
"""In a folder that has moved: where it went."""
_IDENTITY = "identity"
"""The file that tells a directory from every other."""


@dataclass(frozen=True)
class Note:
    """What either folder of a move says of the other.

    Attributes:
        path: the other directory.
        move: the number of the move.
        store: the other directory's identity; None in notes of releases that knew of none.
    """

    path: str
    move: str
    store: str | None = None

    def save(self, folder: Path, name: str, disk: Disk) -> None:
        """Put it into a folder."""
        disk.put_aside(json.dumps(asdict(self)).encode(), folder / f".{name}")
        disk.put_in_place(folder / f".{name}", folder / name)

    @classmethod
    def load(cls, folder: Path, name: str) -> Note | None:
        """What the folder says; None where it says nothing."""
        with suppress(OSError, ValueError, KeyError, TypeError), read(folder / name) as file:
            found = json.loads(file.read())
            path, move, store = str(found["path"]), str(found["move"]), found.get("store")
            return cls(path, move, None if store is None else str(store))
        return None

    @property
    def memories(self) -> Path:
        """The folder of the other directory's memories."""
        return Path(self.path) / "memories"

    @property
    def reachable(self) -> bool:
        """Whether the other directory is there, and not just another one in its place."""
        known = self.store is None or _is(Path(self.path), self.store)
        return known and self.memories.is_dir()


def identity(store: Path, disk: Disk) -> str:
    """What tells a directory from every other; it gets one where it has none.

    Raises:
        OSError: the disk refused.
    """
    if (found := _identity(store)) is None:
        number = secrets.token_hex(8)
        disk.put_aside(number.encode(), store / f".{_IDENTITY}-{number}")
        disk.claim(store / f".{_IDENTITY}-{number}", store / _IDENTITY)
        found = _identity(store)
        if found is None:
            raise OSError(22, "it cannot be read", str(store / _IDENTITY))
    return found


def _is(store: Path, identity: str | None) -> bool:
    """Whether a directory is known to be the one of that identity."""
    return identity is not None and identity == _identity(store)


def _identity(store: Path) -> str | None:
    with suppress(OSError, ValueError), read(store / _IDENTITY) as file:
        return file.read().decode()
    return None


def end_move(store: Path, hashed: str, disk: Disk) -> None:
    """End a move from or to this directory that was cut short; nothing where there was none.

    Where the other directory cannot be reached, nothing is changed.

    Args:
        store: the directory.
        hashed: the memory's name as its folder has it.
        disk: makes every change.

    Raises:
        OSError: the disk refused.
    """
    memories = store / "memories"
    if (said := Note.load(memories / f"{ARRIVING}{hashed}", FROM)) is not None:
        _end(said.memories, memories, hashed, disk)
    if (said := Note.load(memories / f"{MOVED}{hashed}", TO)) is not None and said.reachable:
        _end(memories, said.memories, hashed, disk)
    if (said := Note.load(memories / hashed, FROM)) is not None and said.reachable:
        left = Note.load(said.memories / f"{MOVED}{hashed}", TO)
        if left is not None and left.move == said.move:
            _end(said.memories, memories, hashed, disk)
        disk.remove(memories / hashed / FROM)


def abandoned(store: Path, hashed: str) -> bool:
    """Whether what arrives here is of a move that ended before its one step, as far as is known.

    Or of one that is at work.
    """
    said = Note.load(store / "memories" / f"{ARRIVING}{hashed}", FROM)
    if said is None or not said.reachable:
        return False
    here = Note.load(said.memories / f"{MOVED}{hashed}", TO)
    return here is None or here.move != said.move


def _end(source: Path, target: Path, hashed: str, disk: Disk) -> None:
    """Do what is left once the folder in ``source`` has moved."""
    arriving, moved = target / f"{ARRIVING}{hashed}", source / f"{MOVED}{hashed}"
    here = Note.load(moved, TO)
    if here is None or not target.is_dir():
        return  # it has not moved, or nobody can say what is there
    there = Note.load(arriving, FROM)
    if there is not None and there.move == here.move:
        with suppress(FileNotFoundError):  # another process was first
            disk.rename(arriving, target / hashed)
    elif not (target / hashed).is_dir() and not _is(target.parent, here.store):
        return  # it may be another directory than the one that was meant
    gone = source / f".gone-{secrets.token_hex(8)}"
    with suppress(FileNotFoundError):
        disk.rename(moved, gone)
        disk.remove_tree(gone)
