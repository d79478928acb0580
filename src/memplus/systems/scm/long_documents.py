"""Long documents summarised piece by piece, then level by level (2304.13343).

Nothing is called up and no controller is asked: a piece is summarised with the one before it as
background, and neighbouring summaries are put together until one is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memplus.errors import EmptyTextError
from memplus.systems.scm.grouping import grouped, longest_summary
from memplus.systems.scm.prompts import document_piece, group_of_summaries

__all__ = ["DocumentSummary", "Lengths", "pieces_of_document", "summarise_document"]

_STOP = ". "

Generate = Callable[[str, int], str]
"""A prompt and the most tokens of what follows it -> what follows it."""
Count = Callable[[str], int]
"""A text -> its tokens."""


@dataclass(frozen=True)
class Lengths:
    """In tokens; the published code's."""

    piece: int = 3000
    """Of a piece of the document (2800 for meetings)."""
    background: int = 500
    """An earlier piece of at least so many is given as its summary."""
    words: int = 500
    """Words of a piece's summary at most."""
    group: int = 2300
    """Of summaries that are put together."""


@dataclass(frozen=True)
class DocumentSummary:
    """What a document was summarised to."""

    text: str
    levels: tuple[tuple[str, ...], ...]
    """Summaries of the pieces first, each level shorter than the one before; the last is one."""


def pieces_of_document(text: str, longest: int, count: Count) -> list[str]:
    """A document cut behind sentences (". "); a sentence that is longer is a piece of its own.

    Args:
        text: of the document.
        longest: most tokens of a piece.
        count: counts tokens.
    """
    parts = text.split(_STOP)
    sentences = [part + _STOP for part in parts[:-1]] + [parts[-1]]
    groups = grouped([count(one) for one in sentences], longest)
    joined = ("".join(sentences[place] for place in group).strip() for group in groups)
    return [one for one in joined if one]


def summarise_document(
    text: str, generate: Generate, count: Count, lengths: Lengths | None = None
) -> DocumentSummary:
    """Summarise a document of any length.

    Args:
        text: of the document.
        generate: the model.
        count: counts its tokens.
        lengths: of pieces and groups; None: the published ones.

    Raises:
        EmptyTextError: there is nothing to summarise.
    """
    sizes = lengths or Lengths()
    pieces = pieces_of_document(text, sizes.piece, count)
    if not pieces:
        raise EmptyTextError("The document")
    levels = [tuple(_of_pieces(pieces, generate, count, sizes))]
    while len(levels[-1]) > 1:
        level = _of_groups(levels[-1], generate, count, sizes)
        if len(level) == len(levels[-1]):  # every summary too long for company: join them in pairs
            level = [
                generate(group_of_summaries(levels[-1][place : place + 2], 1000), 1000)
                for place in range(0, len(level), 2)
            ]
        levels.append(tuple(level))
    if len(levels) == 1:
        levels.append(tuple(_of_groups(levels[-1], generate, count, sizes)))
    return DocumentSummary(levels[-1][0], tuple(levels))


def _of_pieces(
    pieces: Sequence[str], generate: Generate, count: Count, sizes: Lengths
) -> list[str]:
    made: list[str] = []
    for place, piece in enumerate(pieces):
        before = ""
        if place:
            short = count(pieces[place - 1]) < sizes.background
            before = pieces[place - 1] if short else made[-1]
        made.append(generate(document_piece(piece, before, sizes.words), 2 * sizes.words))
    return made


def _of_groups(
    summaries: Sequence[str], generate: Generate, count: Count, sizes: Lengths
) -> list[str]:
    """One level: a summary of each group of neighbours."""
    tokens = [count(one) for one in summaries]
    groups = grouped(tokens, sizes.group)
    made = []
    for group in groups:
        within = sum(tokens[place] for place in group)
        longest = longest_summary(within, sizes.group, alone=len(groups) == 1)
        together = [summaries[place] for place in group]
        made.append(generate(group_of_summaries(together, longest), longest))
    return made
