"""Where a memory is kept, as the flags name it: opened, made, saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from memplus.cli.standard import default_store
from memplus.config import ROWS, ROWS_WANTED
from memplus.data.documents import source_of
from memplus.errors import (
    ConfigError,
    MemoryBusyError,
    MemplusError,
    NotFoundError,
    UnknownMemoryError,
    UsageError,
)

if TYPE_CHECKING:
    from memplus.memory.packing import RowKind
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus
    from memplus.server.administering import Administered
    from memplus.store import MemoryStore, StoredMemory
    from memplus.store.administration import Within
    from memplus.store.sharded import AnyStore

__all__ = [
    "Creation",
    "Place",
    "administered",
    "existing_store",
    "made_store",
    "require_folder",
    "served_store",
]


@dataclass(frozen=True)
class Creation:
    """How a memory is made where there is none, and kept.

    Raises:
        ConfigError: a value that a flag cannot have.
    """

    seed: int = 0
    max_bytes: int | None = None
    rows: str | None = None
    """One of ``ROWS``; None: as it is, and as the model says for a new memory."""
    durability: str = "full"

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows not in ROWS:
            raise ConfigError("--rows", value=self.rows, reason=ROWS_WANTED)
        if self.durability not in ("full", "relaxed"):
            reason = "it must be full or relaxed"
            raise ConfigError("--durability", value=self.durability, reason=reason)

    @property
    def kind(self) -> RowKind | None:
        """``rows``, which is one of the kinds that there are."""
        return cast("RowKind | None", self.rows)


@dataclass(frozen=True)
class Place:
    """Where a memory is: a file of its own, or a name in a store."""

    memory: Path | None = None
    store: Path = Path()
    id: str = ""
    ram: int | None = None

    def __str__(self) -> str:
        if self.memory is not None:
            return source_of(self.memory)
        return self.id if self.store == default_store() else f"{self.id} in {source_of(self.store)}"

    @property
    def data(self) -> dict[str, str]:
        """For JSON."""
        if self.memory is not None:
            return {"memory": source_of(self.memory)}
        return {"store": source_of(self.store), "id": self.id}

    @contextmanager
    def reading(self, model: MPlus) -> Iterator[Memory]:
        """The memory, to be read.

        Raises:
            NotFoundError, UnknownMemoryError: there is none.
            StorageError, MemoryMismatchError, MemoryFileError: it cannot be opened.
        """
        from memplus.memory.state import Memory

        if self.memory is not None:
            yield Memory.load(self.memory, model)
            return
        if self.store == default_store() and not self.store.exists():
            raise UnknownMemoryError(self.id, store=self.store)
        with existing_store(self.store, ram=self.ram).open(self.id, model) as memory:
            yield memory

    @contextmanager
    def writing(self, model: MPlus, creation: Creation, *, wait: float) -> Iterator[Memory]:
        """The memory, to be written to; made where there is none, saved when the block ends.

        Raises:
            MemoryBusyError: another process writes to it for longer than ``wait``.
            BudgetError: it is larger than its limit as it is.
            UsageError, StorageError, MemoryMismatchError, MemoryFileError: it cannot be opened.
        """
        if self.memory is not None:
            from memplus.files import locked

            require_folder(self.memory)
            with locked(self.memory, wait=wait):
                target = _loaded_or_made(self.memory, model, creation)
                yield target
                target.save(self.memory)
            return
        store = self._own(creation)
        new = self.id not in store
        if new:
            _new(model, creation)
        try:
            with self._stored(store, model, creation, wait) as stored:
                yield stored
        except MemplusError:
            if new:
                _remove_untouched(store, self.id)
            raise

    def _stored(
        self, store: MemoryStore, model: MPlus, creation: Creation, wait: float
    ) -> StoredMemory:
        stored = store.open_or_create(
            self.id,
            model,
            seed=creation.seed,
            max_bytes=creation.max_bytes,
            rows=creation.kind,
            wait=wait,
        )
        try:
            if creation.max_bytes is not None:
                _require_within(stored, model, creation)
                stored.limit(creation.max_bytes)
            _pack(stored, creation.kind, str(self))
        except BaseException:
            stored.close()
            raise
        return stored

    def make(self, model: MPlus, creation: Creation, within: Within) -> None:
        """Make a new memory in the store; the store is made where there is none.

        Args:
            model: whose memory it is.
            creation: how it is made.
            within: see ``MemoryStore.make``.

        Raises:
            MemoryExistsError: there is one of that name.
            BudgetError: an empty memory is larger than its limit.
            StorageError, MemoryFileError: the store cannot be used.
        """
        _new(model, creation)
        self._own(creation).make(
            self.id,
            model,
            seed=creation.seed,
            max_bytes=creation.max_bytes,
            rows=creation.kind,
            within=within,
        )

    def _own(self, creation: Creation) -> MemoryStore:
        durability = cast(Literal["full", "relaxed"], creation.durability)
        return made_store(self.store, ram=self.ram, durability=durability)


def made_store(
    path: Path, *, ram: int | None = None, durability: Literal["full", "relaxed"] = "full"
) -> MemoryStore:
    """The store at ``path``, made where there is none; the user's own one with its folders.

    Raises:
        StorageError, MemoryFileError: it cannot be used.
    """
    from memplus.store import MemoryStore

    if path == default_store():
        path.parent.mkdir(parents=True, exist_ok=True)
    return MemoryStore(path, ram=ram, durability=durability)


def served_store(paths: Sequence[Path], *, ram: int | None = None) -> AnyStore:
    """The store at some directories, each made where it is missing.

    Raises:
        ConfigError: two of them have one name.
        StorageError, NotAStoreError, MemoryFileError: one cannot be used.
    """
    if len(paths) == 1:
        return made_store(paths[0], ram=ram)
    from memplus.store import ShardedStore

    return ShardedStore(paths, lambda path: made_store(path, ram=ram))


def existing_store(path: Path, *, ram: int | None = None) -> MemoryStore:
    """The store at ``path``.

    Raises:
        NotFoundError: there is no such directory.
        NotAStoreError: there is something else.
    """
    if not path.exists():
        raise NotFoundError(path, kind="store of memories")
    from memplus.store import MemoryStore

    return MemoryStore.existing(path, ram=ram)


def administered(path: Path) -> Administered:
    """The store at ``path`` with what a server keeps beside it, to be looked after.

    Raises:
        NotFoundError: there is no such directory.
        NotAStoreError: there is something else.
        UsageError: what a server keeps beside it is not where it was.
    """
    store = existing_store(path)
    from memplus.server.administering import Administered

    return Administered(store)


def require_folder(path: Path) -> None:
    """Refuse a place for a result before the work for it is done.

    Raises:
        NotFoundError: the folder that ``path`` lies in does not exist.
    """
    if not path.parent.is_dir():
        raise NotFoundError(path.parent, kind="folder")


def _loaded_or_made(path: Path, model: MPlus, creation: Creation) -> Memory:
    from memplus.memory.state import Memory

    if not path.exists():
        return _new(model, creation)
    memory = Memory.load(path, model)
    if creation.max_bytes is not None:
        _require_within(memory, model, creation)
        memory.max_bytes = creation.max_bytes
    _pack(memory, creation.kind, str(path))
    return memory


def _new(model: MPlus, creation: Creation) -> Memory:
    """An empty memory.

    Raises:
        BudgetError: it is larger than its limit.
    """
    memory = model.new_memory(creation.seed, max_bytes=creation.max_bytes, rows=creation.kind)
    memory.check_budget(0, model.core.row_bytes(memory.rows))
    return memory


def _require_within(memory: Memory, model: MPlus, creation: Creation) -> None:
    """Refuse a limit below what a memory takes already; its own one stays meanwhile.

    Raises:
        BudgetError: it takes more.
    """
    own, memory.max_bytes = memory.max_bytes, creation.max_bytes
    try:
        memory.check_budget(0, model.core.row_bytes(creation.kind or memory.rows))
    finally:
        memory.max_bytes = own


def _remove_untouched(store: MemoryStore, name: str) -> None:
    """Take away a memory whose first write was refused, unless another process has used it."""

    @contextmanager
    def untouched() -> Iterator[None]:
        found = store.manifest(name)
        if found.writes or found.waiting:
            raise MemoryBusyError(name)
        yield

    with suppress(UnknownMemoryError, MemoryBusyError):
        store.delete(name, within=untouched)


def _pack(memory: Memory, rows: RowKind | None, name: str) -> None:
    """Keep a memory's rows as the flag says.

    Raises:
        UsageError: they are in fewer bits already.
    """
    if rows is None or rows == memory.rows:
        return
    if rows == "exact" or ROWS.index(rows) < ROWS.index(memory.rows):
        raise UsageError(f"{name} keeps its rows as {memory.rows}; packing cannot be undone.")
    memory.pack(rows)
