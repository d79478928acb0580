"""The memory stream: turns, in the order in which they were told; nothing of it is ever deleted.

Running text becomes turns of about as many tokens each, which end with a sentence. All of it are
values: whoever adds a turn has a new stream, and the older one stays what it was.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

__all__ = ["Chunk", "Stream", "Turn", "Waiting", "shortened"]

# One character after it decides, so that it does not matter how much of a text is there yet.
_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s)|\S(?=\n)")
_COUNTS = 7 * 8
"""Bytes of a turn's place, its lengths and its tokens."""
_END = 4
"""Bytes of where a token ends."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of running text, or both sides of a turn of a dialogue."""

    observation: str
    """What was told, or what one side of a dialogue said, with the name of who speaks."""
    source: str
    start: int
    """First token, from the beginning of its source."""
    length: int
    """In tokens, as they were told."""
    response: str = ""
    """What the other side answered, likewise."""

    def text(self, number: int) -> str:
        """As it stands in a prompt, with its number in the stream, from 1 on."""
        said = f"{self.observation.strip()}\n{self.response.strip()}".strip()
        return f"[Turn {number}]\n{said}"


@dataclass(frozen=True, slots=True)
class Turn:
    """An item of the stream."""

    chunk: Chunk
    text: str
    """With its number."""
    tokens: int
    """Of that text."""
    summary: str | None = None
    """Kept where vectors are of summaries; else it is made when a turn does not fit."""
    vector: Tensor | None = None
    """[d]; None where turns are compared by their words."""

    @property
    def nbytes(self) -> int:
        """Of what was told, the summary, the vector and the counts."""
        texts = (self.chunk.observation, self.chunk.response, self.summary or "")
        vector = 0 if self.vector is None else self.vector.nbytes
        return sum(len(text.encode()) for text in texts) + vector + _COUNTS


@dataclass(frozen=True, slots=True)
class Waiting:
    """Running text that fills no turn yet."""

    source: str = ""
    start: int = 0
    text: str = ""
    ends: tuple[int, ...] = ()
    """The character behind each of its tokens."""

    @property
    def nbytes(self) -> int:
        """Of the text, and of where its tokens end."""
        return len(self.text.encode()) + _END * len(self.ends)

    @property
    def chunk(self) -> Chunk | None:
        """As a turn of its own; None where nothing waits that says anything."""
        if not self.text.strip():
            return None
        return Chunk(self.text, self.source, self.start, len(self.ends))

    def add(self, text: str, ends: Sequence[int]) -> Waiting:
        """The same with a piece of text behind it, tokenised by itself."""
        before = len(self.text)
        return replace(
            self, text=self.text + text, ends=(*self.ends, *(before + end for end in ends))
        )

    def cut(self, tokens: int) -> tuple[list[Chunk], Waiting]:
        """Cut off all turns that are full, each behind a sentence of its second half.

        What is cut off depends on the text up to there and one character more. All tokens of the
        character before a cut are the turn's, so it may have a few more than it is full with.

        Args:
            tokens: with which a turn is full, at least 1.

        Returns:
            The turns, and what still waits.
        """
        chunks: list[Chunk] = []
        first = begin = 0
        while len(self.ends) > first + tokens and self.ends[first + tokens - 1] < len(self.text):
            end = self._end_of_turn(first, begin, tokens)
            behind = bisect_right(self.ends, end, first)
            text, start = self.text[begin:end], self.start + first
            chunks.append(Chunk(text, self.source, start, behind - first))
            first, begin = behind, end
        rest = tuple(end - begin for end in self.ends[first:])
        return chunks, Waiting(self.source, self.start + first, self.text[begin:], rest)

    def _end_of_turn(self, first: int, begin: int, tokens: int) -> int:
        """The character behind a turn that begins with a token, and with its first character."""
        full = self.ends[first + tokens - 1]
        for match in reversed(list(_SENTENCE_END.finditer(self.text, begin, full + 1))):
            place = bisect_left(self.ends, match.end(), first)
            if first + tokens // 2 <= place < first + tokens:
                return self.ends[place]
        return full


@dataclass(frozen=True, slots=True)
class Stream:
    """All that was told."""

    turns: tuple[Turn, ...] = ()
    waiting: Waiting = Waiting()
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Source -> tokens told of it."""

    @property
    def nbytes(self) -> int:
        """Of all turns and of what waits."""
        return self.waiting.nbytes + sum(turn.nbytes for turn in self.turns)

    def counted(self, source: str, tokens: int) -> Stream:
        """The same with tokens more of a source."""
        return replace(self, tokens={**self.tokens, source: self.tokens.get(source, 0) + tokens})

    def rolled_back(self) -> Stream:
        """Without what was told last: what waits, else the last turn.

        The stream of before, if that was one turn; of an empty stream an empty one.
        """
        if self.waiting.text:
            last, left = self.waiting.source, replace(self, waiting=Waiting())
            told = len(self.waiting.ends)
        elif self.turns:
            chunk, left = self.turns[-1].chunk, replace(self, turns=self.turns[:-1])
            last, told = chunk.source, chunk.length
        else:
            return self
        rest = left.tokens[last] - told
        counts = {source: count for source, count in left.tokens.items() if source != last}
        return replace(left, tokens={**counts, last: rest} if rest else counts)


def shortened(text: str, ends: Sequence[int], tokens: int) -> str:
    """The beginning of a text, cut behind a sentence where one ends there.

    Args:
        text: to cut.
        ends: the character behind each of its tokens.
        tokens: most of them that are left, at least 1.
    """
    if len(ends) <= tokens:
        return text
    seen = text[: ends[tokens - 1] + 1]
    places = [match.end() for match in _SENTENCE_END.finditer(seen)]
    return text[: places[-1]] if places else text[: ends[tokens - 1]]
