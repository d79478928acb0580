from dataclasses import replace

import pytest
from tests.fakes import CONFIG, LAYERS, make_mplus, some_ids

from memplus.memory.packing import ROWS
from memplus.sessions.inspection import bytes_per_token, contents, estimated_tokens, reach


def test_contents_add_up() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, list(range(1, 48)), source="a", flush=True)
    model.write(memory, list(range(1, 36)), source="b")
    held = contents(memory)
    assert (held.tokens, held.writes, held.waiting) == (77, 8, 5)
    assert [one.source for one in held.sources] == ["a", "b"]
    assert sum(one.tokens for one in held.sources) == held.tokens
    assert sum(one.short_term for one in held.sources) == held.short_term_rows * LAYERS
    assert sum(one.long_term for one in held.sources) == held.long_term_rows * LAYERS
    assert held.long_term_rows == 8 * 6 - 24
    assert held.ages["newest"] == 0 <= held.ages["median"] <= held.ages["oldest"] < 48


def test_an_empty_memory_has_contents_too() -> None:
    held = contents(make_mplus().new_memory())
    assert held.tokens == held.short_term_rows == held.bytes == 0
    assert held.ages == {}
    assert held.sources == []


def test_retrieval_names_the_writes_it_calls_up() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, list(range(1, 100)), source="a", flush=True)
    found = model.retrieve(memory, "What is it?")
    assert sum(one.rows for one in found) == LAYERS * model.memory_config.retrieved_tokens
    assert [one.rows for one in found] == sorted((one.rows for one in found), reverse=True)
    assert all(one.source == "a" and 0 < one.score < 1 for one in found)
    assert model.retrieve(model.new_memory(), "What is it?") == []


def test_a_question_s_reach_counts_each_retrieved_row_of_a_write_once() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, list(range(1, 65)) * 20, source="old", flush=True)
    model.write(memory, list(range(1, 100)), source="new", flush=True)
    found = model.retrieve(memory, "What is it?")
    reached = reach(memory, found)
    rows = sum(one.rows for one in found if one.write_id)
    assert sum(count for _, count in reached.ages) == rows > 0
    assert sum(count for _, count in reached.sources) == rows
    # 1379 tokens in all: nothing is older than the bound that follows.
    assert {bound for bound, _ in reached.ages} <= {1_000, 4_000}
    newest = sum(one.rows for one in found if one.source == "new" or one.start >= 379 + 16)
    assert dict(reached.ages)[1_000] >= newest


@pytest.mark.long
def test_bytes_per_token_are_those_that_a_memory_grows_by() -> None:
    for rows in ROWS:
        model = make_mplus()
        memory = model.new_memory()
        if rows != "exact":
            memory.pack(rows)
        chunk = model.memory_config.chunk_tokens
        model.write(memory, some_ids(40 * chunk).tolist())
        before = memory.nbytes
        model.write(memory, some_ids(100 * chunk).tolist())
        grown = (memory.nbytes - before) / (100 * chunk)
        assert bytes_per_token(model, rows) == pytest.approx(grown, rel=0.02)


def test_a_memoryllm_does_not_grow() -> None:
    model = make_mplus(config=replace(CONFIG, retrieved_tokens=0))
    assert bytes_per_token(model) == 0


def test_tokens_are_estimated_from_a_sample() -> None:
    model = make_mplus()
    assert estimated_tokens(model, ["a" * 50_000, "", "bc"]) == 50_002
