"""The end of a text, token by token: what a prompt can be given of it.

Tokens are those of the pieces that were told, each tokenised by itself, so that what is kept does
not depend on how the text was handed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memplus.data.stream import Reference

__all__ = ["KeptText", "token_texts"]

_BETWEEN_SOURCES = "\n"


def token_texts(pieces: Sequence[str], reference: Reference) -> Iterator[str]:
    """What each token of the pieces says; put together they are the pieces.

    Args:
        pieces: each is tokenised by itself.
        reference: says where tokens end.
    """
    for piece, ends in zip(pieces, reference(list(pieces)), strict=True):
        start = 0
        for end in ends:
            yield piece[start:end]
            start = end


class KeptText:
    """The last tokens of a text.

    Args:
        most: how many are kept.
        tokens: told so far, those that are gone included.
        slices: what the kept ones say.
        source: of the last one.
    """

    def __init__(
        self, most: int, tokens: int = 0, slices: Sequence[str] = (), source: str = ""
    ) -> None:
        self.most = most
        self.tokens = tokens
        self.slices = list(slices)
        self.source = source

    def add(self, pieces: Sequence[str], source: str, reference: Reference) -> None:
        """Take in a text; a line ends where a text of another source begins."""
        new = list(token_texts(pieces, reference))
        if new and self.tokens and source != self.source:
            new[0] = _BETWEEN_SOURCES + new[0]
        self.tokens += len(new)
        self.slices = [*self.slices, *new][-self.most :]
        self.source = source

    def last(self, tokens: int) -> str:
        """The end of the text, of so many tokens."""
        return "".join(self.slices[len(self.slices) - tokens :])

    def copy(self) -> KeptText:
        """The same text, going its own way."""
        return KeptText(self.most, self.tokens, self.slices, self.source)
