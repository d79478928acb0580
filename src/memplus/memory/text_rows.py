"""Whose text the newest rows hold, at any time of a memory.

A write leaves a row for each token it takes in, as far as it makes so many, and computes the newest
rows before it again to fill up, which copies their text. So whose text a row holds follows from the
lengths of the writes, as long as nothing was forgotten: that leaves a gap, which older rows fill.
What is known then is that between a row and the newest one lie at least the rows of all texts that
were written after its own and were not forgotten.

Writes of spans fill up with rows of their own text. Those of earlier versions did not, and nothing
tells which version made a write, so each is taken for one that computed older rows again.

Shapes: n rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplus.memory.contents import MemoryContents

__all__ = ["TextRows"]

_Rows = list[tuple[int, int]]
"""Of each row, the newest last: whose text it holds, and which write made it; 0: nobody's."""


class TextRows:
    """Rows that are made of each write's own text.

    Args:
        memory: its records, as they are now.
    """

    def __init__(self, memory: MemoryContents) -> None:
        self._config = memory.config
        self.own: list[int] = []
        """Of each write; 0 of one that was forgotten."""
        self.unbroken = [0]
        """Rows of texts since the last forgotten write, before each write and now: these, or as
        many as are kept, are among the newest."""
        self._before = [0]
        for one in memory.writes:
            rows = min(one.tokens, memory.config.rows_of_write(one.tokens)) if one.tokens else 0
            self.own.append(rows)
            self._before.append(self._before[-1] + rows)
            self.unbroken.append(self.unbroken[-1] + rows if rows else 0)

    def back(self, write_id: int, at: int) -> int:
        """How many rows of later texts lie between a write and the one of the id ``at``."""
        return self._before[at - 1] - self._before[write_id]

    def holding(
        self,
        writes: Sequence[int],
        fewest: Sequence[int],
        most: Sequence[int],
        *,
        begun: int | None,
    ) -> tuple[dict[int, list[bool]], list[bool]]:
        """Which rows may hold the text of some writes, or were made by them.

        Args:
            writes: their ids, ascending; none was forgotten before.
            fewest: rows of each write.
            most: the same; where it is more nothing tells how many there were.
            begun: how many rows that came with the model were there before the first write, K at
                most; None: nothing tells.

        Returns:
            By the id of each other write, if there are any, the rows that it computed again, the
            newest first; and K of the newest rows there are now, the newest first.
        """
        kept, span = self._config.tokens_per_write, self._config.span_rows
        sought, found = set(writes), {}
        nearest = 0
        window: _Rows = [(0, 0)] * (begun or 0)
        # Whether what is known of the newest rows is all of them, not the newest of them.
        complete = begun is not None
        for at, own in enumerate(self.own, start=1):
            if not own:
                window, complete = [], False
                continue
            again = most[at - 1] - own
            exact = fewest[at - 1] == most[at - 1]
            complete = complete and exact
            copied = [whose for whose, _ in window[max(0, len(window) - again) :]]
            if complete and again < span:
                copied += [0] * (again - len(copied))  # of padding, in earlier versions
            elif span > 1 and len(copied) < again:
                copied = []  # there may be padding between them and the text
            if at in sought:
                nearest = at
            elif nearest and (back := self.back(nearest, at)) < again:
                held = [whose in sought for whose in reversed(copied)]
                held += [place >= back for place in range(len(copied), again)]
                if any(held):
                    found[at] = held
            made = [*((whose, at) for whose in copied), *[(at, at)] * own]
            goes_on = exact and len(copied) == again
            window = [*window, *made][-kept:] if goes_on else made
            if at == 1 and complete and self._config.first_write == "tile" and begun == 0:
                window = (made * kept)[-kept:]
        now = [whose in sought or by in sought for whose, by in reversed(window)]
        back = self.back(nearest, len(self.own) + 1)
        now += [nearest > 0 and place >= back for place in range(len(now), kept)]
        return found, now
