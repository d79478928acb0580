"""What documents were told in earlier passes and may still remember, for questions about it.

torch is loaded for checkpoints alone: a config is checked without it.

Shapes: n questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EarlierQuestion", "Key", "ToldBefore"]

Key = tuple[int, int]
"""An item: which of the task's sources, and which of that source's items."""
_NO_QUESTION = -1


@dataclass(frozen=True, slots=True)
class EarlierQuestion:
    """A question about what an earlier pass wrote."""

    key: Key
    question: int
    """Which of the item's."""
    first: int
    """Birth of the first row that can hold the answer."""
    last: int


@dataclass(frozen=True, slots=True)
class _Told:
    part: int
    """The last part of the item that was told."""
    birth: int
    """Of its newest row."""
    questions: tuple[EarlierQuestion, ...]


class ToldBefore:
    """The items that each document of a process was told, and what can be asked about them.

    An item that is told again replaces itself: only where it was told last is right.

    Args:
        documents: of this process.
        rows: what was made so many rows ago is remembered no more.
    """

    def __init__(self, documents: int, rows: int) -> None:
        self._rows = rows
        self._told: list[dict[Key, _Told]] = [{} for _ in range(documents)]

    def clear(self) -> None:
        """The memories are empty again."""
        for told in self._told:
            told.clear()

    def expire(self, clock: int) -> None:
        """Leave out what the memories cannot hold any more.

        Args:
            clock: rows made so far.
        """
        for document, told in enumerate(self._told):
            lasting = {k: one for k, one in told.items() if one.birth > clock - self._rows}
            self._told[document] = lasting

    def add(
        self, document: int, key: Key, part: int, birth: int, questions: Sequence[EarlierQuestion]
    ) -> None:
        """A pass has written an item.

        Args:
            document: which was told.
            key: the item.
            part: the last of its parts that was told.
            birth: of its newest row.
            questions: about that part.
        """
        self._told[document].pop(key, None)
        self._told[document][key] = _Told(part, birth, tuple(questions))

    def knows(self, document: int, key: Key) -> bool:
        """Whether a document may still remember an item."""
        return key in self._told[document]

    def begun(self, document: int) -> list[Key]:
        """Items whose first part was told last; what corrects it may not have been told yet."""
        return [key for key, one in self._told[document].items() if one.part == 0]

    def questions(self, document: int) -> list[EarlierQuestion]:
        """All that can be asked about earlier passes."""
        return [asked for one in self._told[document].values() for asked in one.questions]

    def tensor(self) -> Tensor:
        """[n, 8] int64: everything, for checkpoints."""
        import torch

        found = []
        for document, told in enumerate(self._told):
            for key, one in told.items():
                head = [document, *key, one.part, one.birth]
                rows = [[*head, q.question, q.first, q.last] for q in one.questions]
                found += rows or [[*head, _NO_QUESTION, 0, 0]]
        return torch.tensor(found, dtype=torch.int64).view(-1, 8)

    def restore(self, table: Tensor) -> None:
        """Undo ``tensor``."""
        self.clear()
        for document, source, item, part, birth, question, first, last in table.tolist():
            key = (source, item)
            known = self._told[document].get(key)
            asked = known.questions if known is not None else ()
            if question != _NO_QUESTION:
                asked = (*asked, EarlierQuestion(key, question, first, last))
            self._told[document][key] = _Told(part, birth, asked)
