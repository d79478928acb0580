"""Text that has come and is not yet a whole sentence, with the places of its tokens."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from memplus.data.sentences import split_sentences, whole_sentences

__all__ = ["Sentence", "Waiting"]

Sentence = tuple[str, tuple[int, int]]
"""A sentence with its first token in its source, and the token after its last."""


@dataclass
class Waiting:
    """The rest of a text of one source."""

    source: str = ""
    text: str = ""
    ends: list[int] = field(default_factory=list)
    """The character behind each token of the text."""
    first: int = 0
    """Number of the first of these tokens, from the beginning of the source."""

    @property
    def nbytes(self) -> int:
        """Bytes of the text and of its tokens' places."""
        return len(self.text.encode()) + 4 * len(self.ends)

    @property
    def next(self) -> int:
        """Number of the token that comes next in the source."""
        return self.first + len(self.ends)

    def add(self, piece: str, ends: Sequence[int]) -> None:
        """Take in a piece whose tokens end at these characters of it."""
        before = len(self.text)
        self.text += piece
        self.ends += [before + end for end in ends]

    def take(self, *, all_of_it: bool = False) -> Iterator[Sentence]:
        """Take the whole sentences away.

        Args:
            all_of_it: take what has not ended too.
        """
        if all_of_it:
            spans, rest = split_sentences(self.text), len(self.text)
        else:
            spans, rest = whole_sentences(self.text)
        taken = [(self.text[start:end], self._place(start, end)) for start, end in spans]
        gone = bisect_right(self.ends, rest)
        self.text = self.text[rest:]
        self.ends = [end - rest for end in self.ends[gone:]]
        self.first += gone
        yield from taken

    def _place(self, start: int, end: int) -> tuple[int, int]:
        """Tokens of a span: the first that ends behind its start, and the one behind its end.

        Several tokens may end at one place: those of a character that takes more than one.
        """
        stop = max(bisect_right(self.ends, end), bisect_left(self.ends, end) + 1)
        first, stop = bisect_right(self.ends, start), min(stop, len(self.ends))
        return self.first + first, self.first + stop

    def copy(self) -> Waiting:
        """The same, going its own way."""
        return Waiting(self.source, self.text, list(self.ends), self.first)
