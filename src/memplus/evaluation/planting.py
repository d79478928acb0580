"""Facts hidden in a long text at known distances from its end.

Distances are counted in tokens, from the last token of a planted statement to the last token of
the text: what is read between being told and being asked. This room knows texts and tokens, no
model and no memory.

Shapes: none; token offsets are plain integers into the tokenised planted text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from memplus.errors import ConfigError

__all__ = ["Fact", "Planted", "PlantedText", "Tokenize", "distance_edges", "plant", "spread"]

# Text -> (token ids, [start, end) character offsets of each token).
Tokenize = Callable[[str], tuple[list[int], list[tuple[int, int]]]]

# A sentence's end, or a paragraph's: documentation has stretches without full stops.
_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s)|\S(?=\n[ \t]*\n)")
_EDGES = (0, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement to plant, the question that asks for it, and the one right answer."""

    statement: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A fact and where it stands: ``distance`` tokens follow its statement's last token."""

    fact: Fact
    distance: int


@dataclass(frozen=True, slots=True)
class PlantedText:
    """A text with facts in it; ``planted`` runs from the farthest fact to the nearest."""

    text: str
    ids: tuple[int, ...]
    planted: tuple[Planted, ...]


def distance_edges(total: int) -> list[int]:
    """Edges of distance bins, in tokens, that cover a text of ``total`` tokens."""
    return [*_EDGES[: bisect_left(_EDGES, total)], total]


def spread(count: int, edges: Sequence[int]) -> list[int]:
    """``count`` distances, shared out evenly over the bins and evenly placed in each.

    The farthest bins get one more where the count does not divide.
    """
    bins = len(edges) - 1
    distances: list[int] = []
    for index, (low, high) in enumerate(pairwise(edges)):
        share = count // bins + (index >= bins - count % bins)
        distances += [low + int((i + 0.5) * (high - low) / share) for i in range(share)]
    return distances


def plant(
    text: str, facts: Sequence[Fact], *, distances: Sequence[int], tokenize: Tokenize
) -> PlantedText:
    """Puts each fact behind the sentence or paragraph that ends nearest to its wanted distance.

    Args:
        text: the text to hide them in.
        facts: as many as ``distances``; each lands at about its distance.
        distances: wanted distances from the end, in tokens.
        tokenize: see ``Tokenize``.

    Raises:
        ConfigError: the text has fewer sentence ends than there are facts.
    """
    _, offsets = tokenize(text)
    places = [match.end() for match in _SENTENCE_END.finditer(text)]
    if len(places) < len(facts):
        raise ConfigError(
            "notes", value=len(facts), reason=f"the text has only {len(places)} sentences"
        )
    chosen: list[tuple[int, Fact]] = []
    nearer = 0
    for distance, fact in sorted(zip(distances, facts, strict=True), key=lambda pair: pair[0]):
        # Statements planted nearer to the end will stand between this one and the end.
        token = offsets[max(0, len(offsets) - 1 - max(0, distance - nearer))]
        chosen.append((places.pop(_nearest(places, token[1])), fact))
        nearer += len(tokenize(f" {fact.statement}")[0])
    chosen.sort(key=lambda pair: pair[0])
    return _join(text, chosen, tokenize)


def _nearest(places: Sequence[int], at: int) -> int:
    """Index of the place closest to character ``at``; the earlier one of two."""
    index = bisect_left(places, at)
    around = [i for i in (index - 1, index) if 0 <= i < len(places)]
    return min(around, key=lambda i: abs(places[i] - at))


def _join(text: str, chosen: Sequence[tuple[int, Fact]], tokenize: Tokenize) -> PlantedText:
    pieces: list[str] = []
    ends: list[int] = []
    length = start = 0
    for place, fact in chosen:
        piece = f"{text[start:place]} {fact.statement}"
        pieces.append(piece)
        length += len(piece)
        ends.append(length)
        start = place
    full = "".join([*pieces, text[start:]])
    ids, offsets = tokenize(full)
    token_starts = [begin for begin, _ in offsets]
    planted = tuple(
        Planted(fact, distance=len(ids) - bisect_right(token_starts, end - 1))
        for (_, fact), end in zip(chosen, ends, strict=True)
    )
    return PlantedText(full, tuple(ids), planted)
