"""Rows of a note, found by arithmetic, against a count that follows every row by hand."""

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.systems.conftest import SMALL

from memplus import MemoryConfig, MPlus
from memplus.data.stream import Told
from memplus.memory.state import Memory
from memplus.systems.note_rows import (
    CHUNK,
    STATEMENT,
    VALUE,
    note_spans,
    recall,
    rows_of_note,
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
    spans = note_spans(memory, told)
    for layer, table in enumerate(memory.long_term.tables):
        rows = rows_of_note(table["write_id"], table["birth"], spans)
        assert rows[CHUNK].numel() == slow(memory, told, layer, whole=True)
        assert rows[STATEMENT].numel() == slow(memory, told, layer, whole=False)
        if config is COMPRESSING:
            assert torch.equal(rows[CHUNK], rows[STATEMENT])


def test_rows_of_the_value_are_the_last_ones_of_the_statement() -> None:
    memory = written(make_mplus(config=SMALL))
    assert memory.long_term is not None
    spans = note_spans(memory, Told("text", 3, 25, value=20))
    only = note_spans(memory, Told("text", 20, 25))
    held = 0
    for table in memory.long_term.tables:
        rows = rows_of_note(table["write_id"], table["birth"], spans)
        own = rows_of_note(table["write_id"], table["birth"], only)[STATEMENT]
        assert torch.equal(rows[VALUE], own)
        held += len(own)
    assert held


def test_every_row_of_a_write_is_somebodys() -> None:
    memory = written(make_mplus(config=SMALL))
    assert memory.long_term is not None
    table = memory.long_term.tables[1]

    def rows(start: int, end: int) -> dict[str, torch.Tensor]:
        spans = note_spans(memory, Told("text", start, end))
        return rows_of_note(table["write_id"], table["birth"], spans)

    for start in range(0, LENGTH, 6):
        parts = [rows(token, token + 1)[STATEMENT] for token in range(start, start + 6)]
        assert torch.equal(torch.cat(parts).sort().values, rows(start, start + 6)[CHUNK])


def test_recall_is_the_share_of_what_the_question_retrieved() -> None:
    model = make_mplus(config=SMALL)
    memory, told = written(model), Told("text", 8, 20)
    questions = ["Who?", "What is it that was told?"]
    answers = model.asker.ask_together(memory, questions, 2)
    assert memory.long_term is not None
    spans = note_spans(memory, told)
    for row in range(2):
        found = recall(memory, answers.prefix, row, told)
        for layer, table in enumerate(memory.long_term.tables):
            called = set(answers.prefix.retrieved[row, layer].tolist())
            assert len(called) == SMALL.retrieved_tokens
            for name, rows in rows_of_note(table["write_id"], table["birth"], spans).items():
                assert found[name].stored[layer] == rows.numel()
                assert found[name].retrieved[layer] == len(called & set(rows.tolist()))


def test_a_note_that_was_never_written_has_no_rows() -> None:
    model = make_mplus(config=SMALL)
    memory = written(model)
    assert note_spans(memory, Told("elsewhere", 0, 9)) is None
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
