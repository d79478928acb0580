from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus

from memplus.data.documents import Document
from memplus.errors import BudgetError
from memplus.memory.state import Memory
from memplus.sessions.reading import write_documents

FIRST = Document("first.txt", "The gate is red. The dog sleeps all day.")
SECOND = Document("second.txt", "Rain fell on the old house.")


def never() -> bool:
    return False


def ignore(source: str, done: int, total: int) -> None:
    pass


def test_documents_are_written_in_order_each_under_its_name() -> None:
    model = make_mplus()
    memory = model.new_memory()
    reading = write_documents(model, memory, [FIRST, SECOND], report=ignore, stopped=never)
    assert list(memory.source_tokens) == ["first.txt", "second.txt"]
    assert reading.tokens + reading.waiting == len(FIRST.text) + len(SECOND.text)
    assert reading.waiting == len(memory.tail)
    assert reading.writes == len(memory.writes)
    assert not reading.interrupted


def test_counts_are_of_this_reading_alone() -> None:
    model = make_mplus()
    memory = model.new_memory()
    write_documents(model, memory, [FIRST], flush=True, report=ignore, stopped=never)
    again = write_documents(model, memory, [SECOND], flush=True, report=ignore, stopped=never)
    assert again.tokens == len(SECOND.text)
    assert again.waiting == 0


def test_a_stop_leaves_a_valid_memory_of_what_was_written(tmp_path: Path) -> None:
    model = make_mplus()
    memory = model.new_memory()
    seen: list[tuple[str, int, int]] = []
    reading = write_documents(
        model,
        memory,
        [FIRST, SECOND],
        report=lambda *now: seen.append(now),
        stopped=lambda: len(seen) == 2,
    )
    chunk = model.memory_config.chunk_tokens
    assert reading.interrupted
    assert (reading.writes, reading.tokens) == (2, 2 * chunk)
    assert seen[-1] == ("first.txt", 2 * chunk, len(FIRST.text))
    expected = model.new_memory()
    model.write(expected, FIRST.text[: 2 * chunk], source="first.txt")
    memory.save(tmp_path / "m.memory")
    kept = Memory.load(tmp_path / "m.memory", model)
    prompt = torch.tensor([model.encode("What is red?")])
    assert torch.equal(model(prompt, memory=kept).logits, model(prompt, memory=expected).logits)


def test_a_budget_is_refused_before_the_document_is_begun() -> None:
    model = make_mplus()
    memory = model.new_memory(max_bytes=1000)
    with pytest.raises(BudgetError):
        write_documents(model, memory, [FIRST], report=ignore, stopped=never)
    assert memory.writes == []
