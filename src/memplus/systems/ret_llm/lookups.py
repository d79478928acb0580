"""How RET-LLM's controller answers a query: exactly, or by the nearest texts (section 3).

First the rows that equal every filled field. Where there is none, each filled field that its column
does not hold at all gives way to the nearest text of the column that is near enough, and the rows
are looked for exactly again. Two nearest texts that are as good as equally near are both taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from memplus.errors import UsageError
from memplus.systems.ret_llm.grammar import Query
from memplus.systems.ret_llm.nearest import Nearest
from memplus.systems.triples.rows import Column, Row, Texts
from memplus.systems.triples.table import TripleTable

__all__ = ["SIMILARITY", "TIE", "Found", "How", "LookUp", "in_order", "newest"]

SIMILARITY = 0.7
"""Cosine from which a stored text may stand for a field."""
TIE = 0.02
"""A text so little less similar than the nearest one is as near."""

How = Literal["exact", "near", "none"]
_COLUMNS: tuple[Column, ...] = ("subject", "relation", "object")


@dataclass(frozen=True)
class Found:
    """What a query led to."""

    how: How
    queries: tuple[Query, ...]
    """As they were carried out: the query itself, or with the nearest texts in its fields."""
    rows: tuple[Row, ...]
    """See ``in_order``."""


class LookUp:
    """Looks things up, and keeps what was prepared for a table that has not changed since.

    Args:
        similarity: cosine that the nearest text needs.
        near: False: only exact matches are found.
    """

    def __init__(self, similarity: float = SIMILARITY, *, near: bool = True) -> None:
        self.similarity = similarity
        self.near = near
        self._prepared: dict[Column, tuple[Texts, Nearest, frozenset[str]]] = {}

    def __call__(self, table: TripleTable, query: Query) -> Found:
        """The rows for a query.

        Args:
            table: holds them, and gives the vectors of fields that it does not hold.
            query: one or two fields are filled.

        Raises:
            UsageError: no field of it is, or all three are.
        """
        filled = sum(field is not None for field in query.fields)
        if not 0 < filled < len(query.fields):
            raise UsageError(f"A query fills one or two of its fields, not {filled}.")
        rows = table.exact(*query.fields)
        if rows:
            return Found("exact", (query,), in_order(rows))
        queries = self._resolved(table, query) if self.near else []
        found: dict[int, Row] = {}
        for one in queries:
            found |= {row.id: row for row in table.exact(*one.fields)}
        if not found:
            return Found("none", (), ())
        return Found("near", tuple(queries), in_order(found.values()))

    def _resolved(self, table: TripleTable, query: Query) -> list[Query]:
        """The query with the nearest texts; none where nothing is to be replaced, or near."""
        chosen = [
            self._nearest(table, column, field)
            for column, field in zip(_COLUMNS, query.fields, strict=True)
        ]
        return [one for one in (Query(*fields) for fields in product(*chosen)) if one != query]

    def _nearest(self, table: TripleTable, column: Column, field: str | None) -> list[str | None]:
        """What stands for a field: itself where its column holds it, else the nearest texts."""
        if field is None:
            return [None]
        texts = table.texts(column)
        if column not in self._prepared or self._prepared[column][0] is not texts:
            self._prepared[column] = texts, Nearest(texts.vectors), frozenset(texts.texts)
        _, nearest, known = self._prepared[column]
        if field in known:
            return [field]
        if not known:
            return []
        found = nearest.at_least(table.embed([field])[0], self.similarity)
        best = found[0][0] if found else 0.0
        return [texts.texts[place] for cosine, place in found if cosine >= best - TIE]


def in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows in order of first writing; what was said of one thing stands in order of last writing.

    So the newest of several values of one subject and relation is always the last of them, also
    where an older value has been said again.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in ordered:
        groups.setdefault((row.triple.subject, row.triple.relation), []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: (row.written, row.id), reverse=True)
    return tuple(groups[row.triple.subject, row.triple.relation].pop() for row in ordered)


def newest(rows: Sequence[Row], count: int) -> tuple[Row, ...]:
    """So many of some rows, those that were said last, in the order in which they stand."""
    by_age = sorted(rows, key=lambda row: (row.written, row.id))
    kept = {row.id for row in by_age[max(0, len(by_age) - count) :]}
    return tuple(row for row in rows if row.id in kept)
