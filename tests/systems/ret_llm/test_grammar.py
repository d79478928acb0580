from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.systems.golden import golden_folder

from memplus.systems.ret_llm.grammar import (
    Query,
    before_calls,
    can_be_kept,
    parse_calls,
    query_text,
    result_text,
    write_text,
)

FIELDS = (
    st.text(st.characters(exclude_characters="{};>"), min_size=1)
    .map(lambda text: " ".join(text.split()))
    .filter(bool)
)


def as_listed(call: Any) -> list[Any]:
    return ["read", *call.fields] if isinstance(call, Query) else ["write", *call]


def test_golden_calls_and_results() -> None:
    golden = json.loads((golden_folder("ret-llm") / "grammar.json").read_text())
    for case in golden["calls"]:
        found = [as_listed(one) for one in parse_calls(case["text"])]
        assert found == case["calls"], case["text"]
    for case in golden["results"]:
        assert result_text([tuple(row) for row in case["rows"]]) == case["text"]


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=3))
def test_what_is_written_is_parsed(triples: list[tuple[str, str, str]]) -> None:
    assert parse_calls(write_text(triples)) == triples


@given(FIELDS, st.sampled_from([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)]))
def test_queries_of_all_six_kinds_are_parsed(field: str, filled: tuple[int, int, int]) -> None:
    query = Query(*(field if one else None for one in filled))
    assert query.asks
    assert parse_calls(query_text(query)) == [query]


@pytest.mark.parametrize(
    "text",
    [
        "[MEM_READ{>>>>}:",
        "[MEM_READ{a>>b>>c}:",
        "[MEM_READ{a>>b}:",
        "[MEM_READ{a>>>>}]",
        "[MEM_WRITE{a>>b>>c>>d}]",
        "[MEM_WRITE{a>> >>c}]",
        "[MEM_WRITE{a>>b>>c;d>>e>>f}]",
        "[MEM_WRITE{a>>b>>{c}}]",
        "[mem_write{a>>b>>c}]",
        "[MEM_WRITE {a>>b>>c}]",
    ],
)
def test_what_is_no_call_is_not_guessed_at(text: str) -> None:
    assert parse_calls(text) == []


def test_a_broken_call_takes_no_good_one_with_it() -> None:
    text = "so [MEM_WRITE{a>>b [MEM_WRITE{x>> y  z >>w}] and [MEM_READ{>>r>>}: more"
    assert parse_calls(text) == [("x", "y z", "w"), Query(None, "r", None)]


def test_fields_that_would_break_a_result_cannot_be_kept() -> None:
    for good in ("Harrow & Finch", "a > b", "x]y", "[z"):
        assert can_be_kept(good)
    for bad in ("", "  ", "a>>b", "a>", ">b", "a;b", "a{b", "a}b"):
        assert not can_be_kept(bad)


def test_an_empty_result_and_one_that_was_cut_say_so() -> None:
    assert result_text([]) == "]"
    assert result_text([("a", "b", "c")], left_out=4) == " 4 older left out;{a>>b>>c}]"


def test_what_stands_before_a_call_is_told_from_it_however_ill_formed_it_is() -> None:
    for call in ("[MEM_READ{a>>b>>}:", "[MEM_WRITE{a", "[MEM_READ(a)", "[MEM_", "[MEM", "[M"):
        assert before_calls(f"red {call}") == "red "
    for text in ("", "red", "[", "[M] [MEMO]", "see [1"):
        assert before_calls(text) == text
