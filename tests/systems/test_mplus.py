from dataclasses import replace
from math import comb

import pytest
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus import MPlus
from memplus.config import SpanRetrieval
from memplus.data.stream import Told
from memplus.systems.mplus import MemoryLLMSystem, MPlusSystem
from memplus.systems.shared import Shared
from memplus.systems.window import WindowSystem

WAY = SpanRetrieval(span_rows=2, layer=2)
SPANS = replace(SMALL, drop="shared", first_write="grow", retrieval=WAY)
TEXT = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "


def test_a_session_holds_what_the_model_would_have_written() -> None:
    model = SHARED.mplus
    session = MPlusSystem(SHARED).open(7)
    session.write([TEXT[:10], TEXT[10:]], "text")
    memory = model.new_memory(7)
    model.write(memory, model.encode(TEXT), source="text")
    asked = model.ask(memory, "What is red?", max_new_tokens=4)
    assert session.ask(["What is red?"], max_new_tokens=4)[0].text == asked.text
    assert session.tokens == memory.tokens + len(memory.tail)
    flushed = model.new_memory(7)
    model.write(flushed, model.encode(TEXT), source="text", flush=True)
    session.flush()
    assert session.memory.tail == []
    assert session.memory.writes == flushed.writes
    assert session.memory.source_tokens == flushed.source_tokens
    assert session.memory.pool is not None
    assert flushed.pool is not None
    for name, column in flushed.pool.tensors().items():
        assert bool((session.memory.pool.tensors()[name] == column).all())


def test_a_read_is_probed_where_something_was_retrieved() -> None:
    session = MPlusSystem(SHARED).open(0)
    session.write(TEXT * 2, "text")
    session.flush()
    (reply,) = session.ask(["What is red?"], max_new_tokens=2)
    found = session.recalled(reply, Told("text", 4, 15))
    assert found is not None
    assert set(found.rows) == {"value", "statement", "chunk"}
    stored = session.memory.long_term_rows
    assert found.by_chance == pytest.approx(SMALL.retrieved_tokens / stored)
    short = MemoryLLMSystem(SHARED).follow(session)
    (reply,) = short.ask(["What is red?"], max_new_tokens=2)
    assert short.recalled(reply, Told("text", 4, 15)) is None


def test_what_a_read_with_evidence_retrieved_is_what_the_bare_read_did() -> None:
    session = MPlusSystem(SHARED).open(0)
    session.write(TEXT * 2, "text")
    questions = [f"{chr(place) * 3} said what?" for place in range(65, 99)]
    told = Told("text", 4, 15)
    bare = [one for i in (0, 32) for one in session.ask(questions[i : i + 32], max_new_tokens=1)]
    explained = session.explain(questions, max_new_tokens=1)
    found = [session.recalled(one, told) for one in explained]
    assert found == [session.recalled(one, told) for one in bare]
    assert len({str(one) for one in found}) > 1


def test_rows_that_came_with_the_model_are_no_evidence() -> None:
    session = MPlusSystem(SHARED).open(0)
    session.write(TEXT, "text")
    (reply,) = session.explain(["What is red?"], max_new_tokens=2, min_confidence=0.0)
    assert reply.evidence
    assert all(one.source == "text" and one.end > one.start for one in reply.evidence)


@pytest.mark.parametrize("writes", [0, 1, 3])
def test_survival_is_the_chance_that_no_write_drops_the_row(writes: int) -> None:
    system = MemoryLLMSystem(SHARED)
    # One write drops 6 of 24 rows: the choices among the other 23 spare the row.
    spared = comb(23, 6) / comb(24, 6)
    assert system.survival(writes * SMALL.chunk_tokens) == pytest.approx(spared**writes)


def test_what_is_retrieved_as_one_is_a_span_or_a_chunk() -> None:
    rows = MPlusSystem(SHARED)
    assert (rows.span_tokens, rows.spans_retrieved) == (6, 1)
    config = replace(
        SMALL,
        retrieval=SpanRetrieval(span_rows=3, layer=1),
        drop="shared",
        retrieved_tokens=9,
        chunk_tokens=12,
    )
    spans = MPlusSystem(Shared(lambda: make_mplus(config=config)))
    # Two tokens a row.
    assert (spans.span_tokens, spans.spans_retrieved) == (6, 3)


@pytest.mark.parametrize("rule", ["neighbours", "sharpens"])
def test_how_spans_are_chosen_belongs_to_the_identity_of_who_retrieves_them(rule: str) -> None:
    along = replace(SPANS, retrieval=replace(WAY, **{rule: True}))
    alone, together = (
        Shared(lambda config=one: make_mplus("llama", config)) for one in (SPANS, along)
    )
    assert MPlusSystem(together).identity == {**MPlusSystem(alone).identity, rule: True}
    assert MemoryLLMSystem(together).identity == MemoryLLMSystem(alone).identity


def test_how_rows_are_kept_belongs_to_the_identity_of_who_reads_them() -> None:
    """They are of one model, and a run of either is not gone on with as one of the other."""
    wide = SHARED.mplus
    config = replace(wide.memory_config, rows="int8")
    narrow = MPlus(wide.model, config, wide.weights, tokenizer=wide.tokenizer, prompt=wide.prompt)
    packed = Shared(lambda: narrow)
    assert "rows" not in MPlusSystem(SHARED).identity
    assert MPlusSystem(packed).identity == {**MPlusSystem(SHARED).identity, "rows": "int8"}
    for system in (MemoryLLMSystem, WindowSystem):
        assert system(packed).identity == system(SHARED).identity


def test_the_rule_by_which_spans_replace_others_belongs_to_who_finds_them() -> None:
    ruled = replace(SPANS, retrieval=replace(WAY, supersedes=True))
    with_rule, without = (
        Shared(lambda config=one: make_mplus("llama", config)) for one in (ruled, SPANS)
    )
    assert len(MPlusSystem(with_rule).identity["superseding"]) > 0
    assert "superseding" not in MPlusSystem(without).identity
    assert "superseding" not in MemoryLLMSystem(with_rule).identity
