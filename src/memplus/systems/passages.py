"""A text as passages: runs of so many tokens of one source, each with its place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memplus.data.stream import Reference
from memplus.systems.kept_text import token_texts

__all__ = ["Passage", "Passages"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Some tokens of a source, one after the other."""

    source: str
    start: int
    """The first one, from the beginning of its source."""
    tokens: int
    text: str

    @property
    def end(self) -> int:
        """The token after the last one."""
        return self.start + self.tokens


class Passages:
    """Every text that was told, cut anew where another source begins.

    The last passage grows until it is full, so what is kept does not depend on how a text was
    handed over.

    Args:
        size: tokens of a full passage.
        items: those that there are, in the order in which they were told.
    """

    def __init__(self, size: int, items: Sequence[Passage] = ()) -> None:
        self.size = size
        self.items = list(items)
        self._told: dict[str, int] = {}
        for one in self.items:
            self._told[one.source] = max(one.end, self._told.get(one.source, 0))

    @property
    def tokens(self) -> int:
        """Tokens of all that was told."""
        return sum(self._told.values())

    def more(
        self, pieces: Sequence[str], source: str, reference: Reference
    ) -> tuple[int, list[Passage]]:
        """What a text makes of them, for ``put``; nothing is changed yet.

        Returns:
            The place of the first passage that is new or has grown, and those from there on.
        """
        new, at = list(token_texts(pieces, reference)), self._told.get(source, 0)
        items: list[Passage] = []
        changed, last = len(self.items), self.items[-1] if self.items else None
        if last is not None and last.source == source and last.tokens < self.size:
            changed -= 1
            taken = new[: self.size - last.tokens]
            text = last.text + "".join(taken)
            items.append(replace(last, tokens=last.tokens + len(taken), text=text))
            new, at = new[len(taken) :], at + len(taken)
        for start in range(0, len(new), self.size):
            part = new[start : start + self.size]
            items.append(Passage(source, at + start, len(part), "".join(part)))
        return changed, items

    def put(self, place: int, items: Sequence[Passage]) -> None:
        """Have these from a place on; see ``more``."""
        self.items[place:] = items
        for one in items:
            self._told[one.source] = one.end

    def copy(self) -> Passages:
        """The same passages, going their own way."""
        return Passages(self.size, self.items)
