"""A memory on its way from one directory to another, and how a move that was cut short is ended.

The copy lies in the new directory as ``.arriving-<hash>``, whole and checked, and takes no writes.
The one step that moves the memory is the rename of its folder in the old directory to
``.moved-<hash>``: before it the memory is there and nowhere else, after it the copy is the memory.
Both folders hold a note of the other one, with the number of the move, so whoever looks for the
memory in either directory does what is left: the copy gets its name, and what it was copied from
goes. So does whoever is going to change it: what is forgotten where it has arrived must not stay
where it came from.

What lies at a path may be another directory today: another disk, one that is made anew because the
disk is not there, one put back from a backup. So nothing is removed for being missing elsewhere,
only where the other directory holds the number of the same move: in the memory itself, which keeps
its note until the other folder is gone, or in a file ``.left-<number>`` once it has been deleted or
moved on.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from memplus.store.disk import Disk, read

__all__ = ["ARRIVING", "FROM", "MOVED", "TO", "Note", "clear_copy", "end_move", "leave", "recall"]

ARRIVING = ".arriving-"
MOVED = ".moved-"
FROM = "from"
"""In a folder that arrives, and in the memory that it becomes: where it comes from."""
TO = "moved"
"""In a folder that is to move, and when it has: where it goes."""
_LEFT = ".left-"


@dataclass(frozen=True)
class Note:
    """What either folder of a move says.

    Attributes:
        path: the other directory.
        move: the number of the move.
        at: the directory that it lies in; None in notes of releases that did not say. A copy of a
            directory takes no part in the moves of the original.
    """

    path: str
    move: str
    at: str | None = None

    def save(self, folder: Path, name: str, disk: Disk) -> None:
        """Put it into a folder."""
        disk.put_aside(json.dumps(asdict(self)).encode(), folder / f".{name}")
        disk.put_in_place(folder / f".{name}", folder / name)

    @classmethod
    def load(cls, folder: Path, name: str) -> Note | None:
        """What the folder says; None where nothing can be read, from which nothing follows."""
        with suppress(OSError, ValueError, KeyError, TypeError), read(folder / name) as file:
            found = json.loads(file.read())
            path, move, at = str(found["path"]), str(found["move"]), found.get("at")
            return cls(path, move, None if at is None else str(at))
        return None

    @classmethod
    def of(cls, folder: Path, name: str) -> Note | None:
        """What a folder among the memories of a directory says of that directory."""
        said = cls.load(folder, name)
        if said is None or said.at is None:
            return said
        with suppress(OSError):
            if os.path.samefile(said.at, folder.parents[1]):
                return said
        return None

    @property
    def memories(self) -> Path:
        """The folder of the other directory's memories."""
        return Path(self.path) / "memories"

    def stands_in(self, folder: Path, name: str) -> bool:
        """Whether a folder has a note of the same move."""
        other = Note.load(folder, name)
        return other is not None and other.move == self.move

    @property
    def left(self) -> Path:
        """What the other directory has where its memory of this move was deleted or moved on."""
        return self.memories / f"{_LEFT}{self.move}"


def end_move(store: Path, hashed: str, disk: Disk) -> None:
    """Do what is left of a move from or to this directory that has taken its one step.

    Args:
        store: the directory.
        hashed: the memory's name as its folder has it.
        disk: makes every change.

    Raises:
        OSError: the disk refused.
    """
    memories = store / "memories"
    arriving, moved, here = (memories / f"{kind}{hashed}" for kind in (ARRIVING, MOVED, ""))
    said = Note.of(arriving, FROM)
    if said is not None and said.stands_in(said.memories / moved.name, TO):
        _rename(arriving, here, disk)
    said = Note.of(moved, TO)
    if said is not None:
        there = said.memories
        if said.stands_in(there / arriving.name, FROM):
            _rename(there / arriving.name, there / hashed, disk)
        if said.stands_in(there / hashed, FROM):
            _remove(moved, TO, said, disk)
            disk.remove(there / hashed / FROM)
        elif said.left.exists():
            _remove(moved, TO, said, disk)
            disk.remove(said.left)
    said = Note.of(here, FROM)
    if said is not None and said.stands_in(said.memories / moved.name, TO):
        _remove(said.memories / moved.name, TO, said, disk)
        disk.remove(here / FROM)


def recall(store: Path, hashed: str, disk: Disk) -> None:
    """Remove the copy that a move made of this memory which has not taken its one step.

    To be called by who has the right to change the memory, when no move of it is at work.

    Raises:
        OSError: the disk refused.
    """
    here = store / "memories" / hashed
    said = Note.of(here, TO)
    if said is not None and said.stands_in(said.memories / f"{ARRIVING}{hashed}", FROM):
        _remove(said.memories / f"{ARRIVING}{hashed}", FROM, said, disk)
        disk.remove(here / TO)


def clear_copy(store: Path, hashed: str, disk: Disk) -> None:
    """Remove a copy in this directory of which the memory is known to have stayed where it was.

    To be called when no move to this directory is at work.

    Raises:
        OSError: the disk refused.
    """
    arriving = store / "memories" / f"{ARRIVING}{hashed}"
    said = Note.of(arriving, FROM)
    if said is None:
        return
    there = said.memories / hashed
    if said.stands_in(there, TO):
        _remove(arriving, FROM, said, disk)
        disk.remove(there / TO)
    elif said.left.exists():
        _remove(arriving, FROM, said, disk)
        disk.remove(said.left)


def leave(folder: Path, disk: Disk) -> None:
    """Keep the numbers of a memory's moves, before its folder goes.

    Raises:
        OSError: the disk refused.
    """
    for name in (FROM, TO):
        if (said := Note.of(folder, name)) is not None:
            aside = folder.parent / f".{_LEFT}{secrets.token_hex(8)}"
            disk.put_aside(b"", aside)
            disk.put_in_place(aside, folder.parent / f"{_LEFT}{said.move}")


def _rename(arriving: Path, name: Path, disk: Disk) -> None:
    with suppress(FileNotFoundError):  # another process was first
        disk.rename(arriving, name)


def _remove(folder: Path, name: str, said: Note, disk: Disk) -> None:
    """Remove a folder of that move; one of a later move, which has come meanwhile, stays."""
    gone = folder.parent / f".gone-{secrets.token_hex(8)}"
    with suppress(FileNotFoundError):  # another process was first
        disk.rename(folder, gone)
        if not said.stands_in(gone, name):
            disk.rename(gone, folder)
            return
        disk.remove_tree(gone)
