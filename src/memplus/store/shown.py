"""What a memory of a store shows of itself, whatever is done to it."""

from __future__ import annotations

from typing import NoReturn

from memplus.errors import ClosedMemoryError, UsageError
from memplus.memory.state import Memory
from memplus.store.keeper import Keeper

__all__ = ["ShownMemory"]


class ShownMemory(Memory):
    """A memory with a name and a place on the disk, which may be closed."""

    keeper: Keeper
    _closed_nbytes: int | None
    """Its bytes when it was closed; None while it is open."""

    @property
    def id(self) -> str:
        """Its name in the store."""
        return self.keeper.manifest.id

    @property
    def closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._closed_nbytes is not None

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedMemoryError(self.id)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows and their bookkeeping; of a closed memory, those when it was closed."""
        return super().nbytes if self._closed_nbytes is None else self._closed_nbytes

    def _described(self) -> dict[str, object]:
        numbers = super()._described()
        if self.closed:  # its rows are given up
            numbers = {n: v for n, v in numbers.items() if n not in ("short_term", "long_term")}
        state = "writing" if self.keeper.writable else "reading"
        return {"id": repr(self.id), **numbers, "state": "closed" if self.closed else state}

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError(
            "A memory of a store is not pickled: open it in the other process with "
            f"MemoryStore({str(self.keeper.folder.path.parents[1])!r}).open({self.id!r}, model)."
        )
