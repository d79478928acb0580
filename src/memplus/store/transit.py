"""A memory on its way from one directory to another, and how a move that was cut short is ended.

The copy lies in the new directory as ``.arriving-<hash>``, whole and checked, and takes no writes.
The one step that moves the memory is the rename of its folder in the old directory to
``.moved-<hash>``: before it the memory is there and nowhere else, after it the copy is the memory.
Both folders name each other, so whoever looks for the memory in either directory does what is left:
the copy gets its name, and what it was copied from goes.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path

from memplus.store.disk import Disk, read

__all__ = ["ARRIVING", "FROM", "MOVED", "TO", "abandoned", "end_move", "note"]

ARRIVING = ".arriving-"
MOVED = ".moved-"
FROM = "from"
"""In a folder that arrives: where it comes from, and the number of the move."""
TO = "moved"
"""In a folder that has moved: where it went, and the same number."""


def note(folder: Path, name: str, other: Path, move: str, disk: Disk) -> None:
    """Say in a folder where the other one is."""
    content = json.dumps({"path": str(other), "move": move}).encode()
    disk.put_aside(content, folder / f".{name}")
    disk.put_in_place(folder / f".{name}", folder / name)


def _noted(folder: Path, name: str) -> tuple[Path, str] | None:
    """The other directory and the number of the move; None where nothing is said."""
    with suppress(OSError, ValueError, KeyError, TypeError), read(folder / name) as file:
        found = json.loads(file.read())
        return Path(found["path"]), str(found["move"])
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
    if (said := _noted(memories / f"{ARRIVING}{hashed}", FROM)) is not None:
        _end(said[0] / "memories", memories, hashed, disk)
    if (said := _noted(memories / f"{MOVED}{hashed}", TO)) is not None:
        _end(memories, said[0] / "memories", hashed, disk)


def abandoned(store: Path, hashed: str) -> bool:
    """Whether what arrives here is of a move that ended before its one step, as far as is known."""
    said = _noted(store / "memories" / f"{ARRIVING}{hashed}", FROM)
    if said is None:
        return False
    source = said[0] / "memories"
    here = _noted(source / f"{MOVED}{hashed}", TO)
    return source.is_dir() and (here is None or here[1] != said[1])


def _end(source: Path, target: Path, hashed: str, disk: Disk) -> None:
    """Do what is left once the folder in ``source`` has moved."""
    arriving, moved = target / f"{ARRIVING}{hashed}", source / f"{MOVED}{hashed}"
    here = _noted(moved, TO)
    if here is None or not target.is_dir():
        return  # it has not moved, or nobody can say what is there
    there = _noted(arriving, FROM)
    if there is not None and there[1] == here[1]:
        with suppress(FileNotFoundError):  # another process was first
            disk.rename(arriving, target / hashed)
    if not (target / hashed).is_dir():
        return  # it may be another directory than the one that was meant
    gone = source / f".gone-{secrets.token_hex(8)}"
    with suppress(FileNotFoundError):
        disk.rename(moved, gone)
        disk.remove_tree(gone)
