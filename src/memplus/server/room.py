"""Whether a memory has room for texts, before anybody is told that they are taken in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from memplus.errors import BudgetError
from memplus.memory.guards import holding
from memplus.memory.state import Memory
from memplus.mplus.writer import Writer

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["has_room"]


def has_room(model: MPlus, memory: Memory, texts: Iterable[str], source: str) -> bool:
    """Whether a memory may grow by some texts of one source, as writing them will find it.

    Raises:
        MemplusError: they could not be written for another reason.
    """
    if memory.max_bytes is None:
        return True
    ids = [id for text in texts for id in model.encode(text)]
    if not ids:
        return True
    try:
        with holding([memory]):
            Writer(model.core).plan(memory, ids, source, flush=False)
    except BudgetError:
        return False
    return True
