"""What a query finds in a table of triples (2404.11672, section 3.2).

The given end and the relation each have their neighbours among the stored texts, nearer than a
threshold; a triple that has one of each is found if the mean of the two distances is below a third
threshold. A distance is one minus the cosine of two vectors, in float32.

Shapes: n stored texts, d width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.config import require
from memplus.systems.memllm.grammar import Query
from memplus.systems.triples.rows import Column, Row
from memplus.systems.triples.table import TripleTable

__all__ = [
    "EDITING",
    "LANGUAGE",
    "MEASURED",
    "OWN",
    "SETTINGS",
    "TRAINING",
    "Found",
    "Thresholds",
    "ends_found",
    "find",
]

_EXACT = 0.001
_MOST_ENTITIES, _MOST_RELATIONS = 300, 25


@dataclass(frozen=True)
class Thresholds:
    """Distances below which texts count as alike."""

    entity: float
    """Of the given end from a stored entity."""
    relation: float
    """Of the relation from a stored one."""
    mean: float
    """Of the mean of both."""

    def __post_init__(self) -> None:
        for name in ("entity", "relation", "mean"):
            value = getattr(self, name)
            require(0 <= value <= 2, f"thresholds.{name}", value, "it is no distance of 0 to 2")


LANGUAGE = Thresholds(0.15, 0.15, 0.10)
"""Published for language modelling, over the vectors of contriever-msmarco."""
EDITING = Thresholds(0.15, 0.80, 0.50)
"""Published for editing."""
TRAINING = Thresholds(0.10, 0.10, 0.10)
"""Published for making training data."""
OWN = Thresholds(0.15, 0.15, 0.10)
"""The default: so far the published ones of language modelling, which are strict for this package's
vectors. Whoever changes them raises ``MemLLMSystem.revision`` and measures its rows anew."""
MEASURED = Thresholds(0.35, 0.60, 0.475)
"""For this package's vectors: what ``benchmarks/memllm.py grid`` chooses with 200 held-out facts.
It finds about four times as many of the queries in other words as ``OWN``, with false hits in 2% of
what is asked of a memory of other facts."""
SETTINGS = {
    "own": OWN,
    "measured": MEASURED,
    "language": LANGUAGE,
    "editing": EDITING,
    "training": TRAINING,
}
"""By name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A stored triple that a query found."""

    score: float
    """Mean of the distances of its end and its relation."""
    row: Row


def find(
    table: TripleTable, query: Query, thresholds: Thresholds, *, exact_first: bool = True
) -> list[Found]:
    """What a query finds, by score; of equals what was said last comes last.

    Args:
        table: is looked through.
        query: with exactly one end.
        thresholds: of distances.
        exact_first: where something equals the query, nothing else is found.
    """
    given = query.subject if query.object is None else query.object
    assert given is not None
    entities = _neighbours(table, "entity", given, thresholds.entity, _MOST_ENTITIES)
    relations = _neighbours(table, "relation", query.relation, thresholds.relation, _MOST_RELATIONS)
    if not entities or not relations:
        return []
    place = "subjects" if query.object is None else "objects"
    columns = {place: {one for one, _ in entities.values()}}
    rows = table.among(relations=[one for one, _ in relations.values()], **columns)
    found = []
    for row in rows:
        end = row.triple.subject if query.object is None else row.triple.object
        score = (entities[end][1] + relations[row.triple.relation][1]) / 2
        if score < thresholds.mean:
            found.append(Found(score, row))
    found.sort(key=lambda one: (one.score, one.row.written, one.row.id))
    exact = [one for one in found if one.score < _EXACT] if exact_first else []
    return exact or found


def ends_found(
    table: TripleTable,
    queries: Sequence[Query],
    thresholds: Thresholds,
    *,
    exact_first: bool = True,
) -> dict[str, Row]:
    """The other ends that queries find, each once with the triple that it stands in.

    They come query by query, as in the examples that the read adapter learns from, and by score
    within each. An end that two queries find stands where the first one found it.

    Args:
        table: is looked through.
        queries: in their order.
        thresholds: of distances.
        exact_first: see ``find``.
    """
    ends: dict[str, Row] = {}
    for query in queries:
        for one in find(table, query, thresholds, exact_first=exact_first):
            triple = one.row.triple
            ends.setdefault(triple.object if query.object is None else triple.subject, one.row)
    return ends


def _neighbours(
    table: TripleTable, column: Column, text: str, below: float, most: int
) -> dict[str, tuple[int, float]]:
    """Stored texts nearer than a threshold, with their ids and distances, the nearest first."""
    stored = table.texts(column)
    if not stored.ids:
        return {}
    distances = _distances(stored.vectors, _vector(table, stored.texts, stored.vectors, text))
    near = distances.argsort(stable=True)[:most].tolist()
    return {
        stored.texts[at]: (stored.ids[at], float(distances[at]))
        for at in near
        if float(distances[at]) < below
    }


def _vector(table: TripleTable, texts: Sequence[str], vectors: Tensor, text: str) -> Tensor:
    """[d] of a text, which is at hand where the text is stored."""
    if text in texts:
        return vectors[texts.index(text)]
    return table.embed([text])[0].to(vectors)


def _distances(vectors: Tensor, one: Tensor) -> Tensor:
    """[n]: one minus the cosine of each of [n, d] with [d]."""
    return 1 - torch.nn.functional.cosine_similarity(vectors, one[None], dim=1)
