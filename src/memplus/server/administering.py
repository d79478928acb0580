"""A store's memories looked after by commands, and with them what a server keeps beside them.

It makes no difference whether a server runs: who has a memory open for writing is asked to let go
of it, as servers ask each other, and what the server took in for it is written first, where a model
is at hand. In a store that no server has ever used there is nothing beside the memories.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from memplus.errors import MemoryBusyError, UsageError
from memplus.memory.forgetting import Forgotten
from memplus.server.beside import SCHEMA, Beside, Change
from memplus.server.database import ServerDatabase, database_of
from memplus.server.erasure import Choice, choose
from memplus.server.faults import RequestFault
from memplus.server.intake import Entry, Intake
from memplus.server.settings import ServerSettings
from memplus.server.wanted import Wanted
from memplus.store import MemoryStore, StoredMemory
from memplus.store.enclosed import enclosed
from memplus.store.manifest import Manifest

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["Administered"]

_LETS_GO_SECONDS = 5.0
"""A server that is asked lets go of a memory within half a second, or as soon as it is done."""
_ASK_SECONDS = 10.0
_Result = TypeVar("_Result")


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {what: count for what, count in counts.items() if count}


async def _unwritten(entry: Entry) -> None:
    raise UsageError(f"Nobody is here who could write {entry.id}.")


class Administered:
    """A store, and what is kept beside it; closed at the end of a ``with`` block.

    Args:
        store: the memories.

    Raises:
        UsageError: what is kept beside them is not where it was.
        StorageError, CorruptMemoryError, MemoryVersionError: it cannot be opened.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.folder = database_of(store.path)
        self._database: ServerDatabase | None = None
        self._beside: Beside | None = None
        if self.folder is not None:
            self._open(self.folder)

    def _open(self, folder: Path) -> None:
        settings = ServerSettings()
        self._database = ServerDatabase(folder, SCHEMA)
        intake = Intake(self._database, _unwritten, settings.wait_seconds)
        self._beside = Beside(self.store, self._database, intake, settings)

    def __enter__(self) -> Administered:
        return self

    def __exit__(self, *error: object) -> None:
        if self._database is not None:
            self._database.close()

    # Without a model ----------------------------------------------------------------------------

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """A block in which a memory of that name is made, when there is none and no other process
        may make one."""
        if self._beside is not None:
            self._beside.made(name)
        yield

    def delete(self, name: str, *, wait: float) -> None:
        """Delete a memory, and all that a server keeps of it; see ``MemoryStore.delete``."""
        act = self.store.delete if self._beside is None else self._beside.delete
        self._patiently(name, wait, lambda wait: act(name, wait=wait))

    def rollback(self, name: str, to_write: int | None, commit: int | None, *, wait: float) -> None:
        """Make a memory what it was; texts that wait for it go as well.

        See ``MemoryStore.rollback``.
        """

        def act(wait: float) -> None:
            if self._beside is None:
                self.store.rollback(name, to_write, commit=commit, wait=wait)
            else:
                self._beside.roll_back(name, to_write, commit, wait=wait)

        self._patiently(name, wait, act)

    def fork(self, name: str, new_name: str) -> None:
        """A second memory that begins as this one; the same turns and calls are known of it."""
        if self._beside is None:
            self.store.fork(name, new_name)
        else:
            within = partial(self._beside.forking, name, new_name)
            self.store.fork(name, new_name, within=within)

    def export(self, name: str, file: Path) -> None:
        """Write a memory to one file, with the metadata that a server keeps; see
        ``MemoryStore.export``."""
        if self._beside is None:
            self.store.export(name, file)
        else:
            self._beside.export(name, file)

    def import_memory(self, file: Path, name: str | None) -> Manifest:
        """Add a memory from a file, with the metadata that it may hold; see
        ``MemoryStore.import_memory``."""
        found = enclosed(file)
        if found.notes and self._beside is None:
            self._open(self.store.path)  # what a server keeps has to be kept somewhere
        if self._beside is None:
            return self.store.import_memory(file, name)
        return self._beside.import_memory(file, found.id if name is None else name)

    def move(self, name: str, target: Path, *, wait: float) -> None:
        """Move a memory to another store; see ``MemoryStore.move``.

        What the server keeps of it goes, unless the same server has the other store, too.

        Raises:
            UsageError: the server has taken in texts that are not in it yet.
        """
        other = MemoryStore(target)
        with Administered(other) as there:
            if there.folder == self.folder:
                self._patiently(name, wait, lambda wait: self.store.move(name, other, wait=wait))
            else:
                self._move_away(name, there, wait)

    def _move_away(self, name: str, there: Administered, wait: float) -> None:
        """Move a memory to a store that another server has, or none."""

        def act(wait: float) -> None:
            within = partial(there.making, name)
            self.store.move(name, there.store, wait=wait, within=within)

        if self._beside is None:
            self._patiently(name, wait, act)
            return
        if waiting := self.waiting(name):
            raise UsageError(
                f"{waiting} texts that the server took in for {name!r} are not written yet. They "
                "are once the server has run; move it then."
            )
        number = self._beside.begin(name, Change("delete"))
        try:
            self._patiently(name, wait, act)
        finally:
            self._beside.finish(number)

    def waiting(self, name: str) -> int:
        """How many texts a server took in for a memory that are not in it yet."""
        if self._beside is None:
            return 0
        tenant, _, memory = name.rpartition("/")
        return self._beside.intake.waiting(tenant, memory)

    # With one -----------------------------------------------------------------------------------

    @contextmanager
    def writing(self, name: str, model: MPlus, *, wait: float) -> Iterator[StoredMemory]:
        """A memory, open for writing, once all that a server took in for it is written.

        See ``MemoryStore.open``.
        """
        opened = self._patiently(
            name, wait, lambda wait: self.store.open(name, model, write=True, wait=wait)
        )
        with opened as memory:
            if self._database is not None:
                _settle(self._database, memory, model)
            yield memory

    def chosen(
        self,
        memory: StoredMemory,
        source: str | None,
        write: Iterable[int] | None,
        match: str | None,
    ) -> Choice:
        """What ``forget`` would take out of a memory, given the same.

        Raises:
            UnknownSourceError, UsageError: something that is named is nowhere.
        """
        if self._beside is None:
            return choose(memory, source, write, match)
        return self._beside.chosen(memory, source, write, match) or Choice({})

    def forget(
        self,
        memory: StoredMemory,
        *,
        source: str | None = None,
        write: Iterable[int] | None = None,
        match: str | None = None,
        rebuild: bool = False,
    ) -> tuple[Forgotten, dict[str, int]]:
        """Take writes out of a memory that is open for writing, and out of what a server keeps.

        See ``StoredMemory.forget``. Also says how many of what else went.
        """
        also: dict[str, int] = {}
        if write is not None:
            write = list(write)
        with ExitStack() as stack:
            if (beside := self._beside) is not None:
                choice = beside.chosen(memory, source, write, match)
                if choice is None:  # the memory could not take it
                    also = beside.forget_beside(memory.id, source, match)
                    return Forgotten((), 0, 0, 0), _some(also)
                change = Change.forgetting(choice, source, match, rebuild=rebuild)
                also = stack.enter_context(beside.changing(memory.id, change))
            gone = memory.forget(source=source, write=write, match=match, rebuild=rebuild)
        return gone, _some(also)

    @contextmanager
    def replacing(self, memory: StoredMemory, sources: Iterable[str]) -> Iterator[None]:
        """A block that may forget what some sources hold, one after the other."""
        if (beside := self._beside) is None:
            yield
            return
        noted: list[tuple[int, list[int], list[int]]] = []
        beside.settle(memory.id)
        for source in dict.fromkeys(sources):
            held = [one.id for one in memory.writes if one.source == source and one.tokens]
            tail = [*memory.tail] if memory.tail_source == source else []
            if held or tail:
                change = Change.forgetting(choose(memory, source), source, None)
                noted.append((beside.begin(memory.id, change), held, tail))
        try:
            yield
        finally:
            for number, held, tail in noted:
                there = any(memory.writes[id - 1].tokens for id in held)
                there |= not held and memory.tail == tail  # nothing but this, and it waits on
                beside.cancel(number) if there else beside.finish(number)

    def _patiently(self, name: str, wait: float, act: Callable[[float], _Result]) -> _Result:
        """What an act gives; a server that has the memory is asked to let go of it."""
        try:
            return act(0.0 if self._database is not None else wait)
        except MemoryBusyError:
            if self._database is None:
                raise
        wanted = Wanted(self._database)
        until = time.monotonic() + max(wait, _LETS_GO_SECONDS)
        try:
            while True:
                wanted.ask(name)  # again, since no server heeds for long who may be gone
                left = until - time.monotonic()
                try:
                    return act(max(0.0, min(left, _ASK_SECONDS)))
                except MemoryBusyError:
                    if left <= _ASK_SECONDS:
                        raise
        finally:
            wanted.take_back(name)


def _settle(database: ServerDatabase, memory: StoredMemory, model: MPlus) -> None:
    """Write what was taken in for a memory.

    Raises:
        UsageError: it could not be written.
    """

    async def write(entry: Entry) -> None:
        if intake.waits(entry.id) and not memory.has_label(entry.id):
            with memory.labelled(entry.id):
                model.write(memory, entry.text, source=entry.source)

    intake = Intake(database, write, ServerSettings().wait_seconds)
    try:
        asyncio.run(intake.settled(memory.id))
    except RequestFault as fault:
        raise UsageError(f"What the server took in could not be written: {fault}") from fault
