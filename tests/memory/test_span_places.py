"""Spans back to tokens, against a write-by-write account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus import Memory
from memplus.memory.span_places import SpanPlaces

MODEL = make_mplus(config=SPANS)
SIZE = SPANS.span_rows


def written(lengths: list[int]) -> tuple[Memory, dict[int, list[tuple[int, int, int]]]]:
    """A memory of short chunks, and by write id the birth, first and end token of its spans."""
    memory, account = MODEL.new_memory(), {}
    clock = 0
    for number, tokens in enumerate(lengths):
        MODEL.write(memory, some_ids(tokens).tolist(), source=f"text {number}", flush=True)
        rows = -(-tokens // SIZE) * SIZE
        clock += rows
        # The newest row is that of the last token.
        token_of = {clock - back: tokens - 1 - back for back in range(rows)}
        spans = []
        for last in range(clock - rows + SIZE, clock + 1, SIZE):
            own = [t for birth in range(last - SIZE + 1, last + 1) if (t := token_of[birth]) >= 0]
            spans.append((last, own[0], own[-1] + 1))
        account[number + 1] = spans
    return memory, account


LENGTHS = st.lists(st.integers(1, 8), min_size=1, max_size=9)


@settings(max_examples=20, deadline=None)
@given(lengths=LENGTHS, forgotten=st.sets(st.integers(0, 8), max_size=3))
def test_a_span_is_led_back_to_its_tokens(lengths: list[int], forgotten: set[int]) -> None:
    memory, account = written(lengths)
    gone = {number + 1 for number in forgotten if number < len(lengths)}
    if gone:
        memory.forget(write=gone)
    places = SpanPlaces.of(memory)
    for write_id, spans in account.items():
        for birth, start, stop in spans if write_id not in gone else ():
            assert places.tokens(write_id, birth) == (start, stop)


def test_a_write_that_is_not_all_there_is_named_as_a_whole_where_counting_is_cut_off() -> None:
    memory, _ = written([8, 8, 8, 8, 8, 8])
    half = memory.short_term_only()
    for tokens in (8, 3, 8, 3, 8, 8):
        MODEL.write(half, some_ids(tokens).tolist(), source="later", flush=True)
    assert half.pool is not None
    present = half.pool.write_id[0].tolist()
    long = [one.id for one in half.writes[1:-1] if one.tokens == 8]
    cut = next(one for one in long if 0 < present.count(one) < 8)
    birth = int(half.pool.birth[0][half.pool.write_id[0] == cut].max())
    place = SpanPlaces(half).tokens(cut, birth)
    assert place in ((0, 4), (4, 8))
    half.forget(write={1, 12} - {cut})
    assert SpanPlaces.of(half).tokens(cut, birth) == place  # the rows beside it tell
    half.forget(write=set(range(2, 12)) - {cut})
    assert SpanPlaces.of(half).tokens(cut, birth) == (0, 8)


def test_a_write_that_compresses_is_named_as_a_whole() -> None:
    model = make_mplus(config=replace(SPANS, chunk_tokens=16))
    memory = model.new_memory()
    model.write(memory, some_ids(19).tolist(), flush=True)
    assert memory.clock == 12
    places = SpanPlaces.of(memory)
    assert [places.tokens(1, birth) for birth in (4, 8)] == [(0, 16), (0, 16)]
    assert places.tokens(2, 12) == (0, 3)


def test_a_span_that_no_token_falls_into_is_named_as_the_whole_write() -> None:
    model = make_mplus(config=replace(SPANS, tokens_per_write=16))
    memory = model.new_memory()
    model.write(memory, some_ids(3).tolist(), flush=True)
    model.write(memory, some_ids(8).tolist(), flush=True)
    places = SpanPlaces.of(memory)
    assert [places.tokens(1, birth) for birth in (4, 8)] == [(0, 3), (0, 3)]
    found = [places.tokens(2, birth) for birth in (12, 16, 20, 24)]
    assert found == [(0, 8), (0, 8), (0, 4), (4, 8)]


def test_places_are_worked_out_anew_after_a_write() -> None:
    memory, _ = written([5])
    first = SpanPlaces.of(memory)
    assert SpanPlaces.of(memory) is first
    MODEL.write(memory, some_ids(3).tolist(), source="more", flush=True)
    assert SpanPlaces.of(memory) is not first
    assert SpanPlaces.of(memory).tokens(2, 12) == (0, 3)
    with pytest.raises(IndexError):
        first.tokens(2, 12)
