"""``ShardedStore``: one store over several directories, each memory whole in one of them.

A new memory's directory follows from its name by rendezvous hashing: of all directories the one
with the largest hash of name and directory. So every process chooses the same, and one more is
the home of its share of names and changes that of no others. A memory that lies elsewhere, because
it was moved or because directories were added, is found where it lies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TypeVar

from memplus.errors import ConfigError, MemoryBusyError, UnknownMemoryError
from memplus.memory.packing import RowKind
from memplus.memory.state import MemoryHost
from memplus.memory.written_text import WrittenText
from memplus.store.administration import Within
from memplus.store.journal import Commit
from memplus.store.manifest import Manifest
from memplus.store.store import MemoryStore
from memplus.store.stored import StoredMemory

__all__ = ["AnyStore", "ShardedStore"]

_Result = TypeVar("_Result")
_ATTEMPTS = 20


class ShardedStore:
    """Memories in several directories, by name; see ``MemoryStore`` for what each method does.

    Args:
        paths: the directories, in any order; each is a store of its own, and its last part is its
            name in the hash, so that it may be mounted elsewhere.
        open_store: opens one of them, with whatever durability, budget and lease all have.

    Raises:
        ConfigError: there are none, or two of one name.
        StorageError, NotAStoreError, MemoryVersionError: see ``MemoryStore``.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        open_store: Callable[[Path], MemoryStore] = MemoryStore,
    ) -> None:
        places = [Path(path) for path in paths]
        names = [place.absolute().name for place in places]
        if not places or len(set(names)) < len(names):
            reason = "give one directory or more, each with another last part"
            raise ConfigError("paths", value=[str(place) for place in places], reason=reason)
        self.stores = {name: open_store(place) for name, place in zip(names, places, strict=True)}
        for store in self.stores.values():
            store.others = [other for other in self.stores.values() if other is not store]

    @property
    def paths(self) -> list[Path]:
        """The directories, in the order in which they were given."""
        return [store.path for store in self.stores.values()]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({[str(one.path) for one in self.stores.values()]!r})"

    # Where a memory lies ------------------------------------------------------------------------

    def home(self, name: str) -> MemoryStore:
        """Where a memory of that name is made."""
        return self.stores[max(self.stores, key=lambda shard: _weight(shard, name))]

    def where(self, name: str) -> MemoryStore:
        """Where the memory of that name lies.

        Raises:
            UnknownMemoryError: in none of the directories.
        """
        found = self._found(name)
        if found is None:
            raise UnknownMemoryError(name, store=self.home(name).path)
        return found

    def _found(self, name: str) -> MemoryStore | None:
        first = self.home(name)
        others = [one for one in self.stores.values() if one is not first]
        # Twice: a memory that is moved meanwhile from what was not yet looked at to what was.
        for one in (first, *others, first, *others):
            if name in one:
                return one
        return None

    def _at(self, name: str, act: Callable[[MemoryStore], _Result]) -> _Result:
        """Do something where the memory lies, also where it is moved just then."""
        store = self.where(name)
        try:
            return act(store)
        except UnknownMemoryError:
            again = self.where(name)
            if again is store:
                raise
            return act(again)

    def move(self, name: str, shard: str | None = None, *, wait: float | None = 0.0) -> None:
        """Move a memory to another of the directories.

        Args:
            name: of the memory.
            shard: the last part of the directory; None: where a new memory of that name is made.
            wait: seconds to wait for a writer.

        Raises:
            UnknownMemoryError, MemoryBusyError, MemoryExistsError, StorageError.
            ConfigError: there is no such directory.
        """
        if shard is not None and shard not in self.stores:
            raise ConfigError("shard", value=shard, reason=f"there are {', '.join(self.stores)}")
        target = self.home(name) if shard is None else self.stores[shard]
        source = self.where(name)
        if source is not target:
            source.move(name, target, wait=wait)

    # What a store does --------------------------------------------------------------------------

    def __iter__(self) -> Iterator[str]:
        return iter([manifest.id for manifest in self.memories()])

    def __len__(self) -> int:
        return sum(len(one) for one in self.stores.values())

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: str) -> bool:
        return self._found(name) is not None

    def memories(self) -> list[Manifest]:
        """Every memory's manifest, by name."""
        found = {one.id: one for store in self.stores.values() for one in store.memories()}
        return [found[name] for name in sorted(found)]

    def names(self) -> list[str]:
        """Every memory's name, in order."""
        return sorted({name for store in self.stores.values() for name in store.names()})

    def manifest(self, name: str) -> Manifest:
        """What a memory consists of."""
        return self._at(name, lambda store: store.manifest(name))

    def create(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
        wait: float | None = 0.0,
    ) -> StoredMemory:
        """A pristine memory, open for writing, in its home.

        Raises:
            MemoryExistsError: there is one of that name in any of the directories.
        """
        home = self.home(name)
        return home.create(name, model, seed=seed, max_bytes=max_bytes, rows=rows, wait=wait)

    def make(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
        within: Within = nullcontext,
    ) -> None:
        """A pristine memory that is not opened, in its home."""
        home = self.home(name)
        home.make(name, model, seed=seed, max_bytes=max_bytes, rows=rows, within=within)

    def open(
        self, name: str, model: MemoryHost, *, write: bool = False, wait: float | None = 0.0
    ) -> StoredMemory:
        """Open a memory."""
        return self._at(name, lambda store: store.open(name, model, write=write, wait=wait))

    def open_or_create(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
        wait: float | None = 0.0,
    ) -> StoredMemory:
        """The memory of that name, open for writing; where there is none, a pristine one."""
        for _ in range(_ATTEMPTS):
            with suppress(UnknownMemoryError):  # it was moved, or made elsewhere, meanwhile
                if (there := self._found(name)) is not None:
                    return there.open(name, model, write=True, wait=wait)
                return self.home(name).open_or_create(
                    name, model, seed=seed, max_bytes=max_bytes, rows=rows, wait=wait
                )
        raise MemoryBusyError(name)

    def delete(self, name: str, *, wait: float | None = 0.0, within: Within = nullcontext) -> None:
        """Remove a memory."""
        self._at(name, lambda store: store.delete(name, wait=wait, within=within))

    def fork(
        self,
        name: str,
        new_name: str,
        *,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> None:
        """A second memory that begins as this one; it lies beside it, and shares its files.

        Raises:
            MemoryExistsError: there is one of the new name in any of the directories.
        """
        home = self.home(new_name)
        home.require_new(new_name)

        def fork(store: MemoryStore) -> None:
            # What is made meanwhile is made in its home, which is another one than the fork's.
            with nullcontext() if store is home else home.naming(new_name, wait):
                home.require_new(new_name)  # else, where it is, it might be moved to its home
                store.fork(name, new_name, wait=wait, within=within)

        self._at(name, fork)

    def export(self, name: str, path: str | os.PathLike[str], *, notes: bytes = b"") -> None:
        """Write a memory as it is now to one portable file."""
        self._at(name, lambda store: store.export(name, path, notes=notes))

    def import_memory(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> Manifest:
        """Add a memory from a file of ``export`` under a name, in its home."""
        return self.home(name).import_memory(path, name, wait=wait, within=within)

    def verify(self, name: str) -> int:
        """Check every byte of a memory; returns how many."""
        return self._at(name, lambda store: store.verify(name))

    def size(self, name: str) -> int:
        """Bytes of a memory's files."""
        return self._at(name, lambda store: store.size(name))

    def limit(self, name: str) -> int | None:
        """Bytes that a memory may take; None: no limit."""
        return self._at(name, lambda store: store.limit(name))

    def history(self, name: str) -> list[Commit]:
        """The states that ``rollback`` can go back to."""
        return self._at(name, lambda store: store.history(name))

    def has_label(self, name: str, label: str) -> bool:
        """Whether a commit with that label is part of a memory."""
        return self._at(name, lambda store: store.has_label(name, label))

    def held_labels(self, name: str, labels: Iterable[str]) -> set[str]:
        """Those of some labels that commits of a memory have."""
        wanted = set(labels)
        return self._at(name, lambda store: store.held_labels(name, wanted))

    def texts(self, name: str, writes: Iterable[int]) -> dict[int, WrittenText]:
        """What some writes of a memory said, by id."""
        wanted = set(writes)
        return self._at(name, lambda store: store.texts(name, wanted))

    def rollback(
        self,
        name: str,
        to_write: int | None = None,
        *,
        commit: int | None = None,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> None:
        """Make a memory what it was after a write, or after a commit."""

        def go_back(store: MemoryStore) -> None:
            store.rollback(name, to_write, commit=commit, wait=wait, within=within)

        self._at(name, go_back)


def _weight(shard: str, name: str) -> bytes:
    said = f"{len(shard)} {shard} {name}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(said).digest()


AnyStore = MemoryStore | ShardedStore
"""One directory of memories, or several."""
