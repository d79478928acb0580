"""Evidence in spans: what was retrieved, what is quoted, and writes where rows are retrieved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus import Memory, MPlus
from memplus.memory.written_text import WrittenText
from memplus.mplus.evidence_parts import Part, SpanParts, WriteParts, parts_of, quoted
from memplus.passes.span_queries import span_queries
from memplus.store import MemoryStore

SIZE = 16
CONFIG = replace(
    SPANS,
    short_term_tokens=2 * SIZE,
    retrieved_tokens=SIZE,
    tokens_per_write=2 * SIZE,
    chunk_tokens=2 * SIZE,
    retrieval=replace(SPANS.retrieval, span_rows=SIZE),
)
TOLD = "Ada likes réd pears. "
BEFORE, AFTER = "It rained all day long. " * 5, "The train came late again. " * 7
QUESTION = "What does Ada like?"


def point_at(model: MPlus, memory: Memory, row: int) -> None:
    """Rig the keys: the question finds the span of this stored row, and no other."""
    assert memory.long_term is not None
    memory.long_term = memory.long_term.fork()
    layer = model.weights.retrieving[0]
    table = memory.long_term.tables[layer]
    ids = torch.tensor([model.asker.encode(QUESTION)])
    (queries,) = span_queries(
        model.backbone, model.weights, ids, torch.ones_like(ids, dtype=torch.bool)
    )
    keys = table["key"].clone()
    keys[:] = -queries.sum(dim=0)
    keys[row // SIZE * SIZE] = queries.sum(dim=0)
    table.replace("key", keys)


@pytest.fixture(scope="module")
def model() -> MPlus:
    return make_mplus(config=CONFIG)


def told(model: MPlus, memory: Memory) -> int:
    """Write a text with a statement in it; the stored row of the statement's first token."""
    model.write(memory, BEFORE + TOLD + AFTER, source="diary", flush=True)
    assert memory.long_term is not None
    start = len(model.encode(BEFORE))
    table = memory.long_term.books(0)
    found = (table["birth"] == start + 1).nonzero()  # a row for each token, from clock 1 on
    return int(found)


def test_the_span_that_was_found_is_the_evidence_and_is_quoted(
    model: MPlus, tmp_path: Path
) -> None:
    text = BEFORE + TOLD + AFTER
    with MemoryStore(tmp_path / "s").create("alice", model) as memory:
        row = told(model, memory)
        point_at(model, memory, row)
        (found,) = model.retrieve(memory, QUESTION)
        answer = model.ask(memory, QUESTION, max_new_tokens=2)
    start = len(model.encode(BEFORE)) // SIZE * SIZE
    assert (found.source, found.start, found.tokens) == ("diary", start, SIZE)
    assert found.rows == SIZE * 4
    assert found.score > 0
    (one,) = [one for one in answer.evidence if one.score is not None]
    assert (one.source, one.start, one.tokens) == ("diary", start, SIZE)
    assert one.score == pytest.approx(found.score)
    assert one.first_char is not None
    assert text[one.first_char :].startswith(one.text)
    assert one.text in text
    assert TOLD[:3] in one.text
    assert 0 < len(one.text) <= SIZE
    others = [one for one in answer.evidence if one.score is None]
    assert all(0 < other.tokens <= SIZE for other in others)
    assert sum(one.share for one in answer.evidence) <= 1 + 1e-6


def test_spans_of_the_pool_are_parts_too(model: MPlus) -> None:
    memory = model.new_memory()
    told(model, memory)
    prefix = model.asker.reader.prefill(some_ids(5)[None], memory)
    parts = parts_of(memory, prefix, 0)
    assert isinstance(parts, SpanParts)
    assert len(parts) == 1 + 1 + 2
    rows = parts.of_rows(0)
    assert torch.equal(rows, parts.of_rows(3))
    assert torch.bincount(rows).tolist() == [0, SIZE, SIZE, SIZE]
    assert [one.score is not None for one in (parts[1], parts[2], parts[3])] == [True, False, False]
    assert parts.retrieved() == [parts[1]]
    last = len(memory.writes)
    places = [(one.write_id, one.start, one.stop) for one in (parts[2], parts[3])]
    tokens = memory.writes[-1].tokens
    assert places[-1][0] == last
    assert places[-1][2] == tokens
    assert memory.pool is not None
    for place, index in zip(memory.pool.position[0].tolist(), rows[SIZE:].tolist(), strict=True):
        assert index == 2 + place // SIZE


def test_spans_of_one_compressed_write_are_one_part() -> None:
    model = make_mplus(config=replace(CONFIG, chunk_tokens=4 * SIZE, retrieved_tokens=4 * SIZE))
    memory = model.new_memory()
    model.write(memory, some_ids(20 * SIZE).tolist(), source="a")
    prefix = model.asker.reader.prefill(some_ids(5)[None], memory)
    found = SpanParts(memory, prefix, 0).retrieved()
    assert sum(one.rows for one in found) == 4 * SIZE
    assert len({one.write_id for one in found}) == len(found)
    assert all((one.start, one.stop) == (0, 4 * SIZE) for one in found)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_where_rows_are_retrieved_a_part_is_a_write() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(80).tolist(), source="a")
    prefix = model.asker.reader.prefill(some_ids(5)[None], memory)
    parts = parts_of(memory, prefix, 0)
    assert isinstance(parts, WriteParts)
    assert len(parts) == 9
    assert parts[3] == Part(3, 0, 10)
    assert memory.pool is not None
    assert torch.equal(parts.of_rows(1)[8:], memory.pool.write_id[1].long())
    assert len(WriteParts(model.new_memory()).of_rows(0)) == 0


def _said(text: str, ids: tuple[int, ...]) -> WrittenText:
    return WrittenText(1, "a", 0, len(ids), 100, text, ids, 0.0)


def test_a_part_is_quoted_as_it_was_written(model: MPlus) -> None:
    said = _said(TOLD, tuple(model.encode(TOLD)))
    assert quoted(said, Part(1, 0, said.tokens), model.decode) == (TOLD, 100)
    assert quoted(said, Part(1, 4, 9), model.decode) == ("likes", 104)
    within = TOLD.index("é") + 1  # é is two tokens: the one that ends it has it
    assert quoted(said, Part(1, 0, within), model.decode) == ("Ada likes r", 100)
    assert quoted(said, Part(1, within, within + 2), model.decode) == ("éd", 100 + within - 1)


def test_a_part_is_quoted_where_a_tokenizer_tells_less(model: MPlus) -> None:
    ids = tuple(model.encode(TOLD))
    spaced = _said(f" {TOLD}", ids)  # as tokenizers that strip a leading space
    assert quoted(spaced, Part(1, 4, 9), model.decode) == ("likes", 105)
    other = _said("Something else.", ids)
    assert quoted(other, Part(1, 4, 9), model.decode) == ("likes", None)
    twice = _said("likes likes", ids)
    assert quoted(twice, Part(1, 4, 9), model.decode) == ("likes", None)
    without = _said(TOLD, ())
    assert quoted(without, Part(1, 4, 9), model.decode) == (TOLD, 100)


def test_a_memory_whose_pool_was_forgotten_is_asked_also_beside_another(model: MPlus) -> None:
    forgotten, other = model.new_memory(), model.new_memory()
    for memory in (forgotten, other):
        model.write(memory, some_ids(2 * SIZE).tolist(), source="diary", flush=True)
    forgotten.forget(source="diary")
    assert forgotten.pool is not None
    assert forgotten.pool.count == 0
    alone = model.ask(forgotten, QUESTION)
    assert not alone.evidence
    both = model.ask([forgotten, other], [QUESTION, QUESTION])
    assert both[0].text == alone.text
    assert not both[0].evidence
    assert both[1].evidence[0].source == "diary"
