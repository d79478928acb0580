"""Rows of a note, found by arithmetic, against a count that follows every row by hand."""

from dataclasses import replace

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.systems.conftest import SMALL

from memplus import MemoryConfig, MPlus
from memplus.config import SpanRetrieval
from memplus.data.stream import Told
from memplus.memory.state import Memory
from memplus.systems.note_rows import (
    CHUNK,
    STATEMENT,
    VALUE,
    note_place,
    recall,
    rows_of_note,
    spans_of_note,
)
from memplus.systems.protocol import Recall

COMPRESSING = MemoryConfig(
    short_term_tokens=12, retrieved_tokens=8, tokens_per_write=4, chunk_tokens=6, retriever_dim=8
)
LENGTH = 96


def written(model: MPlus) -> Memory:
    memory = model.new_memory(seed=2)
    model.write(memory, some_ids(13, seed=1).tolist(), source="before", flush=True)
    model.write(memory, some_ids(LENGTH, seed=2).tolist(), source="text")
    return memory


def slow(memory: Memory, told: Told, layer: int, *, whole: bool) -> int:
    """Stored rows of a note: every row's token is worked out from its place in its write."""
    assert memory.long_term is not None
    table = memory.long_term.tables[layer]
    found = 0
    for write_id, birth in zip(table["write_id"].tolist(), table["birth"].tolist(), strict=True):
        record = memory.writes[write_id - 1]
        if record.source != told.source:
            continue
        tokens = range(record.start, record.start + record.tokens)
        if not whole and record.tokens == memory.config.tokens_per_write:
            newest = memory.clock - memory.config.tokens_per_write * (len(memory.writes) - write_id)
            token = tokens[len(tokens) - 1 - (newest - birth)]
            found += told.start <= token < told.end
        else:
            found += any(told.start <= token < told.end for token in tokens)
    return found


@pytest.mark.parametrize("config", [SMALL, COMPRESSING], ids=["row per token", "compressing"])
@pytest.mark.parametrize("span", [(0, 4), (3, 5), (4, 9), (10, 25), (17, 18), (30, 36)])
def test_stored_rows_are_those_of_a_slow_count(config: MemoryConfig, span: tuple[int, int]) -> None:
    model = make_mplus(config=config)
    memory, told = written(model), Told("text", *span)
    assert memory.long_term is not None
    place = note_place(memory, told)
    for layer, table in enumerate(memory.long_term.tables):
        rows = rows_of_note(table["write_id"], table["birth"], place)
        assert rows[CHUNK].numel() == slow(memory, told, layer, whole=True)
        assert rows[STATEMENT].numel() == slow(memory, told, layer, whole=False)
        if config is COMPRESSING:
            assert torch.equal(rows[CHUNK], rows[STATEMENT])


def test_rows_of_a_value_inside_are_those_of_its_tokens_alone() -> None:
    memory = written(make_mplus(config=SMALL))
    assert memory.long_term is not None
    place = note_place(memory, Told("text", 3, 25, value=5, value_end=14))
    only = note_place(memory, Told("text", 5, 14))
    held = 0
    for table in memory.long_term.tables:
        rows = rows_of_note(table["write_id"], table["birth"], place)
        own = rows_of_note(table["write_id"], table["birth"], only)[STATEMENT]
        assert torch.equal(rows[VALUE], own)
        held += len(own)
    assert held


def test_spans_of_a_value_inside_are_those_that_hold_its_tokens() -> None:
    memory = written(make_mplus(config=SPANS))
    inside = spans_of_note(memory, Told("text", 3, 25, value=5, value_end=14))
    only = spans_of_note(memory, Told("text", 5, 14))
    assert torch.equal(inside[VALUE], only[STATEMENT])
    assert 0 < len(inside[VALUE]) < len(inside[STATEMENT])


def test_rows_of_the_value_are_the_last_ones_of_the_statement() -> None:
    memory = written(make_mplus(config=SMALL))
    assert memory.long_term is not None
    place = note_place(memory, Told("text", 3, 25, value=20))
    only = note_place(memory, Told("text", 20, 25))
    held = 0
    for table in memory.long_term.tables:
        rows = rows_of_note(table["write_id"], table["birth"], place)
        own = rows_of_note(table["write_id"], table["birth"], only)[STATEMENT]
        assert torch.equal(rows[VALUE], own)
        held += len(own)
    assert held


def test_every_row_of_a_write_is_somebodys() -> None:
    memory = written(make_mplus(config=SMALL))
    assert memory.long_term is not None
    table = memory.long_term.tables[1]

    def rows(start: int, end: int) -> dict[str, torch.Tensor]:
        place = note_place(memory, Told("text", start, end))
        return rows_of_note(table["write_id"], table["birth"], place)

    for start in range(0, LENGTH, 6):
        parts = [rows(token, token + 1)[STATEMENT] for token in range(start, start + 6)]
        assert torch.equal(torch.cat(parts).sort().values, rows(start, start + 6)[CHUNK])


def test_recall_is_the_share_of_what_the_question_retrieved() -> None:
    model = make_mplus(config=SMALL)
    memory, told = written(model), Told("text", 8, 20)
    questions = ["Who?", "What is it that was told?"]
    answers = model.asker.ask_together(memory, questions, 2)
    assert memory.long_term is not None
    place = note_place(memory, told)
    for row in range(2):
        found = recall(memory, answers.prefix, row, told)
        for layer, table in enumerate(memory.long_term.tables):
            called = set(answers.prefix.retrieved[row, layer].tolist())
            assert len(called) == SMALL.retrieved_tokens
            for name, rows in rows_of_note(table["write_id"], table["birth"], place).items():
                assert found[name].stored[layer] == rows.numel()
                assert found[name].retrieved[layer] == len(called & set(rows.tolist()))


def test_a_note_that_was_never_written_has_no_rows() -> None:
    model = make_mplus(config=SMALL)
    memory = written(model)
    assert note_place(memory, Told("elsewhere", 0, 9)) is None
    answers = model.asker.ask_together(memory, ["Who?"], 2)
    found = recall(memory, answers.prefix, 0, Told("text", LENGTH, LENGTH + 3))
    assert found[CHUNK] == Recall([0] * 4, [0] * 4)
    assert found[CHUNK].mean is None


def test_nothing_is_retrieved_while_the_long_term_memory_is_empty() -> None:
    model = make_mplus(config=SMALL)
    memory = model.new_memory()
    model.write(memory, some_ids(12).tolist(), source="text")
    answers = model.asker.ask_together(memory, ["Who?"], 2)
    assert recall(memory, answers.prefix, 0, Told("text", 0, 6))[CHUNK].mean is None


SPANS = replace(
    SMALL, retrieval=SpanRetrieval(span_rows=3, layer=1), drop="shared", retrieved_tokens=6
)


@pytest.mark.parametrize("span", [(0, 4), (3, 5), (4, 9), (10, 25), (17, 18), (30, 36)])
def test_spans_of_a_note_are_those_that_hold_its_tokens(span: tuple[int, int]) -> None:
    model = make_mplus(config=SPANS)
    memory, told = written(model), Told("text", *span, value=span[1] - 1)
    assert memory.long_term is not None
    table = memory.long_term.books(0)
    found = spans_of_note(memory, told)
    wanted: dict[str, list[int]] = {VALUE: [], STATEMENT: [], CHUNK: []}
    for at in range(len(table) // 3):
        record = memory.writes[int(table["write_id"][3 * at]) - 1]
        if record.source != "text":
            continue
        # One row for each token, and as many older ones or paddings before as fill a span.
        newest = sum(SPANS.rows_of_write(one.tokens) for one in memory.writes[: record.id])
        births = table["birth"][3 * at : 3 * at + 3].tolist()
        tokens = {record.start + record.tokens - 1 - (newest - birth) for birth in births}
        wanted[VALUE] += [at] if span[1] - 1 in tokens else []
        wanted[STATEMENT] += [at] if tokens & set(range(*span)) else []
        wanted[CHUNK] += [at] if record.start < span[1] and span[0] < record.start + 6 else []
    assert {name: spans.tolist() for name, spans in found.items()} == wanted


def test_recall_counts_the_spans_that_a_question_retrieved() -> None:
    model = make_mplus(config=replace(SPANS, retrieved_tokens=30))
    memory, told = written(model), Told("text", 8, 90)
    answers = model.asker.ask_together(memory, ["Who?", "What is it that was told?"], 2)
    seen = 0
    for row in range(2):
        rows = answers.prefix.retrieved[row, 0].tolist()
        chosen = {at // 3 for at in rows}
        assert len(chosen) == 10
        found = recall(memory, answers.prefix, row, told)
        for name, spans in spans_of_note(memory, told).items():
            both = len(chosen & set(spans.tolist()))
            assert found[name] == Recall([len(spans)], [both])
            seen += both
    assert seen
    nothing = recall(memory, answers.prefix, 0, Told("text", LENGTH, LENGTH + 3))
    assert nothing[CHUNK] == Recall([0], [0])
