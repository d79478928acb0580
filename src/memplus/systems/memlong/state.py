"""The state of several texts: a bank of each.

Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from memplus.systems.memlong.bank import Bank

__all__ = ["MemLongState"]


@dataclass(frozen=True, eq=False)
class MemLongState:
    """Banks that have nothing to do with each other; nothing in them has a graph."""

    banks: tuple[Bank, ...]
    """B of them; one text that is asked many things stands here many times."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``MechanismState.tensors``; of several banks, names begin with the row's number."""
        if len(self.banks) == 1:
            return self.banks[0].tensors
        named = enumerate(self.banks)
        return {f"{row}.{name}": one for row, bank in named for name, one in bank.tensors.items()}

    @property
    def nbytes(self) -> int:
        """See ``MechanismState.nbytes``."""
        return sum(bank.nbytes for bank in self.banks)

    @property
    def rows(self) -> int:
        """See ``MechanismState.rows``."""
        return len(self.banks)

    @property
    def tokens(self) -> int:
        """See ``MechanismState.tokens``."""
        return self.banks[0].written

    def detached(self) -> MemLongState:
        """See ``MechanismState.detached``."""
        return self

    def repeated(self, times: int) -> MemLongState:
        """See ``MechanismState.repeated``; nothing is copied."""
        return MemLongState(tuple(bank for bank in self.banks for _ in range(times)))

    def counted(self, chunks: Sequence[Sequence[int]]) -> MemLongState:
        """With these chunks of each bank counted as retrieved once more."""
        pairs = zip(self.banks, chunks, strict=True)
        return MemLongState(tuple(bank.counted(found) for bank, found in pairs))

    @classmethod
    def restored(cls, like: Bank, tensors: Mapping[str, Tensor]) -> MemLongState:
        """The state that has these tensors.

        Args:
            like: an empty bank of the same mechanism.
            tensors: as the property gave them.

        Raises:
            ValueError: a name, a shape or a dtype is not what it should be; says which.
        """
        first = next(iter(tensors), "").partition(".")[0]
        if not first.isdigit():
            return cls((Bank.restored(like, tensors),))
        rows: dict[str, dict[str, Tensor]] = {}
        for name, one in tensors.items():
            row, _, rest = name.partition(".")
            rows.setdefault(row, {})[rest] = one
        if list(rows) != [str(row) for row in range(len(rows))]:
            raise ValueError(f"{list(rows)[-1]} is no row of {len(rows)}")
        return cls(tuple(Bank.restored(like, one) for one in rows.values()))
