from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from tests.systems.golden import golden_folder
from torch import Tensor
from torch.nn import functional

from memplus.errors import UsageError
from memplus.systems.ret_llm.grammar import Query
from memplus.systems.ret_llm.lookups import LookUp, in_order, newest
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.table import TripleTable

KINDS = [one for one in itertools.product((False, True), repeat=3) if 0 < sum(one) < 3]
ROWS = [
    Triple("Nadia", "employed by", "Mills"),
    Triple("Viktor", "employed by", "Mills"),
    Triple("Lena", "customer of", "Mills"),
    Triple("Viktor", "customer of", "Lines"),
    Triple("Nadia", "code", "1"),
    Triple("Nadia", "code", "2"),
]
VECTORS = {
    text: functional.normalize(torch.randn(12, generator=torch.Generator().manual_seed(n)), dim=0)
    for n, text in enumerate(sorted({text for row in ROWS for text in row} | {"Quill", "x"}))
}


def embed(texts: Sequence[str]) -> Tensor:
    return torch.stack([VECTORS[text] for text in texts])


def filled(rows: Sequence[Triple]) -> TripleTable:
    table = TripleTable(embed)
    for row in rows:
        table.add([row])
    return table


def asked(row: Triple, kind: Sequence[bool]) -> Query:
    return Query(*(text if known else None for text, known in zip(row, kind, strict=True)))


def test_golden_lookups() -> None:
    golden: dict[str, Any] = json.loads((golden_folder("ret-llm") / "lookups.json").read_text())
    vectors = {name: torch.tensor(one) for name, one in golden["vectors"].items()}
    table = TripleTable(lambda texts: torch.stack([vectors[text] for text in texts]))
    for row in golden["rows"]:
        table.add([Triple(*row)])
    look_up = LookUp(golden["similarity_at_least"])
    for case in golden["lookups"]:
        found = look_up(table, Query(*case["query"]))
        assert found.how == case["how"], case["query"]
        resolved = [list(one.fields) for one in found.queries]
        assert resolved == ([case["resolved"]] if case["resolved"] else [])
        assert [list(row.triple) for row in found.rows] == case["rows"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_found_by_all_six_kinds_of_query_made_from_it(kind: Sequence[bool]) -> None:
    table = filled(ROWS)
    for row in ROWS:
        found = LookUp()(table, asked(row, kind))
        assert found.how == "exact"
        assert row in [one.triple for one in found.rows]
        for other in found.rows:
            assert asked(other.triple, kind) == asked(row, kind)


@pytest.mark.parametrize("kind", [(False, False, False), (True, True, True)])
def test_a_query_for_everything_or_for_nothing_is_refused(kind: Sequence[bool]) -> None:
    with pytest.raises(UsageError, match="one or two of its fields"):
        LookUp()(filled(ROWS), asked(ROWS[0], kind))


def test_the_order_of_writing_does_not_change_which_rows_are_found() -> None:
    expected = None
    for seed in range(6):
        rows = list(ROWS)
        Random(seed).shuffle(rows)
        table = filled(rows)
        found = [
            {one.triple for one in LookUp()(table, asked(row, kind)).rows}
            for row in ROWS
            for kind in KINDS
        ]
        assert expected in (None, found)
        expected = found


def near_to(text: str, cosine: float, seed: int = 0) -> Tensor:
    """A vector of that cosine with a text's."""
    given = VECTORS[text]
    other = torch.randn(12, generator=torch.Generator().manual_seed(seed + 100))
    other = functional.normalize(other - (other @ given) * given, dim=0)
    return cosine * given + (1 - cosine**2) ** 0.5 * other


def test_an_exact_match_wins_over_any_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VECTORS, "Viktor", VECTORS["Nadia"])
    found = LookUp()(filled(ROWS), Query("Viktor", None, None))
    assert {row.triple.subject for row in found.rows} == {"Viktor"}


def test_the_nearest_text_stands_in_from_the_threshold_on(monkeypatch: pytest.MonkeyPatch) -> None:
    table = filled(ROWS)
    for cosine, how in ((0.72, "near"), (0.68, "none")):
        monkeypatch.setitem(VECTORS, "N.", near_to("Nadia", cosine))
        assert LookUp()(table, Query("N.", "code", None)).how == how
    assert LookUp(0.6)(table, Query("N.", "code", None)).how == "near"
    assert LookUp(0.6, near=False)(table, Query("N.", "code", None)).how == "none"


def test_only_fields_that_are_nowhere_in_their_column_give_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = filled(ROWS)
    assert LookUp(0.01)(table, Query("Lena", "code", None)).how == "none"
    # "Mills" is an organisation here and no person.
    monkeypatch.setitem(VECTORS, "Mills", near_to("Lena", 0.9))
    found = LookUp()(table, Query("Mills", None, None))
    assert found.queries == (Query("Lena", None, None),)


def test_two_texts_that_are_as_near_are_both_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    other = functional.normalize(VECTORS["Nadia"] + VECTORS["Lena"], dim=0)
    monkeypatch.setitem(VECTORS, "?", other)
    found = LookUp(0.3)(filled(ROWS), Query("?", None, None))
    assert {query.first for query in found.queries} == {"Nadia", "Lena"}
    assert [row.triple for row in found.rows] == [ROWS[0], ROWS[2], ROWS[4], ROWS[5]]


def test_an_empty_table_and_one_that_changed_are_looked_through_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, look_up = TripleTable(embed), LookUp()
    assert look_up(table, Query("Quill", None, None)).how == "none"
    monkeypatch.setitem(VECTORS, "N.", near_to("Nadia", 0.9))
    table.add([Triple("Lena", "customer of", "Mills")])
    assert look_up(table, Query("N.", None, None)).how == "none"
    table.add([Triple("Nadia", "code", "1")])
    assert look_up(table, Query("N.", None, None)).how == "near"


def test_of_several_values_the_one_that_was_said_last_stands_last() -> None:
    table = filled([*ROWS, ROWS[4]])  # code 1, code 2, and 1 again
    rows = in_order(table.rows())
    values = [row.triple.object for row in rows if row.triple.relation == "code"]
    assert values == ["2", "1"]
    assert [row.triple for row in rows][:4] == ROWS[:4]


def test_what_is_said_again_is_new_and_stands_where_it_stood() -> None:
    rows = LookUp()(filled([*ROWS, ROWS[0]]), Query(None, None, "Mills")).rows
    assert [row.triple for row in rows] == ROWS[:3]
    for count, kept in (
        (5, ROWS[:3]),
        (3, ROWS[:3]),
        (2, [ROWS[0], ROWS[2]]),
        (1, [ROWS[0]]),
        (0, []),
    ):
        assert [row.triple for row in newest(rows, count)] == kept
