from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_mplus

from memplus.config import MemoryConfig, SpanRetrieval
from memplus.data.documents import Document
from memplus.errors import BudgetError, EmptyTextError, SourceChangedError, UsageError
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus
from memplus.sessions.inspection import writes_to_come
from memplus.sessions.reading import parts_to_come, write_documents
from memplus.store import MemoryStore

FIRST = Document("first.txt", "The gate is red. The dog sleeps all day.")
SECOND = Document("second.txt", "Rain fell on the old house.")


def stopping(chunks: int) -> Callable[[str, int, int], bool]:
    """Ends a reading after so many chunks."""
    calls: list[int] = []

    def after(source: str, done: int, total: int) -> bool:
        calls.append(done)
        return len(calls) == chunks

    return after


def test_documents_are_written_in_order_each_under_its_name() -> None:
    model = make_mplus()
    memory = model.new_memory()
    reading = write_documents(model, memory, [FIRST, SECOND])
    assert list(memory.source_tokens) == ["first.txt", "second.txt"]
    assert reading.tokens + reading.waiting == len(FIRST.text) + len(SECOND.text)
    assert reading.waiting == len(memory.tail)
    assert reading.writes == len(memory.writes)
    assert not reading.interrupted


def test_counts_are_of_this_reading_alone() -> None:
    model = make_mplus()
    memory = model.new_memory()
    write_documents(model, memory, [FIRST], flush=True)
    again = write_documents(model, memory, [SECOND], flush=True)
    assert again.tokens == len(SECOND.text)
    assert again.waiting == 0


def test_a_stop_leaves_a_valid_memory_of_what_was_written(tmp_path: Path) -> None:
    model = make_mplus()
    memory = model.new_memory()
    seen: list[tuple[str, int, int]] = []

    def after(*now: Any) -> bool:
        seen.append(now)
        return len(seen) == 2

    reading = write_documents(model, memory, [FIRST, SECOND], after=after)
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
        write_documents(model, memory, [FIRST])
    assert memory.writes == []


def test_a_tail_that_the_budget_refuses_to_write_waits_on() -> None:
    model = make_mplus()
    memory = model.new_memory()
    write_documents(model, memory, [SECOND])
    memory.max_bytes = memory.nbytes
    waiting = (memory.tail, memory.tail_source, memory.tail_text)
    assert waiting[0]
    with pytest.raises(BudgetError):
        write_documents(model, memory, [SECOND], flush=True)
    assert (memory.tail, memory.tail_source, memory.tail_text) == waiting


@contextmanager
def plain(model: MPlus, folder: Path) -> Iterator[Memory]:
    yield model.new_memory()


@contextmanager
def stored(model: MPlus, folder: Path) -> Iterator[Memory]:
    with MemoryStore(folder / "store").create("m", model) as memory:
        yield memory


Opened = Callable[[MPlus, Path], AbstractContextManager[Memory]]
KINDS = pytest.mark.parametrize("opened", [plain, stored])


def rows_of(model: MPlus, memory: Memory) -> torch.Tensor:
    """What the memory makes of a prompt: equal to the bit for equal memories."""
    prompt = torch.tensor([model.encode("What is red?")])
    return model(prompt, memory=memory).logits


@KINDS
def test_a_document_that_is_there_is_skipped(opened: Opened, tmp_path: Path) -> None:
    model = make_mplus()
    with opened(model, tmp_path) as memory:
        write_documents(model, memory, [FIRST])
        before = (memory.tokens, list(memory.tail))
        again = write_documents(model, memory, [FIRST, SECOND])
        assert again.skipped == ("first.txt",)
        assert again.taken == len(SECOND.text)
        assert memory.source_tokens["first.txt"] == before[0] + len(before[1])


@KINDS
def test_a_reading_that_was_stopped_is_resumed_to_the_bit(opened: Opened, tmp_path: Path) -> None:
    model = make_mplus()
    undisturbed = model.new_memory()
    write_documents(model, undisturbed, [FIRST, SECOND])
    with opened(model, tmp_path) as memory:
        first = write_documents(model, memory, [FIRST, SECOND], after=stopping(2))
        assert first.interrupted
        assert first.taken == 2 * model.memory_config.chunk_tokens
        second = write_documents(model, memory, [FIRST, SECOND])
        assert second.resumed == ("first.txt",)
        assert first.taken + second.taken == len(FIRST.text) + len(SECOND.text)
        assert torch.equal(rows_of(model, memory), rows_of(model, undisturbed))


@KINDS
def test_a_document_that_grew_is_written_from_where_it_ended(
    opened: Opened, tmp_path: Path
) -> None:
    model = make_mplus()
    grown = Document(FIRST.source, FIRST.text + " Nobody knows why.")
    whole = model.new_memory()
    write_documents(model, whole, [grown])
    with opened(model, tmp_path) as memory:
        write_documents(model, memory, [FIRST])
        write_documents(model, memory, [grown])
        assert torch.equal(rows_of(model, memory), rows_of(model, whole))


@KINDS
def test_a_document_that_changed_is_refused_before_anything_is_written(
    opened: Opened, tmp_path: Path
) -> None:
    model = make_mplus()
    changed = Document(FIRST.source, "Something else altogether.")
    with opened(model, tmp_path) as memory:
        write_documents(model, memory, [FIRST])
        version = memory.version
        with pytest.raises(SourceChangedError, match=r"first.txt has changed"):
            write_documents(model, memory, [SECOND, changed])
        assert memory.version == version


def test_a_store_sees_a_change_that_only_the_texts_show(tmp_path: Path) -> None:
    model = make_mplus()
    changed = Document(FIRST.source, FIRST.text.replace("red", "old"))
    with stored(model, tmp_path) as memory:
        write_documents(model, memory, [FIRST])
        with pytest.raises(SourceChangedError):
            write_documents(model, memory, [changed])


@KINDS
def test_replacing_forgets_the_source_and_writes_it_anew(opened: Opened, tmp_path: Path) -> None:
    model = make_mplus()
    changed = Document(FIRST.source, "Something else altogether, and longer.")
    with opened(model, tmp_path) as memory:
        write_documents(model, memory, [FIRST, SECOND])
        done = write_documents(model, memory, [changed], replace=True)
        assert done.replaced == ("first.txt",)
        assert done.taken == len(changed.text)
        held = sum(r.tokens for r in memory.writes if r.source == FIRST.source)
        assert held + len(memory.tail) == len(changed.text)
        assert memory.source_tokens[SECOND.source] == len(SECOND.text)


@KINDS
@pytest.mark.parametrize(
    ("text", "refused"), [("Something longer. " * 40, BudgetError), (" \n", EmptyTextError)]
)
def test_what_cannot_be_written_replaces_nothing(
    opened: Opened, tmp_path: Path, text: str, refused: type[Exception]
) -> None:
    model = make_mplus()
    with opened(model, tmp_path) as memory:
        write_documents(model, memory, [FIRST, SECOND])
        without = memory.fork()
        without.forget(source=FIRST.source)
        without.max_bytes = 1
        with pytest.raises(BudgetError) as enough:
            model.write(without, FIRST.text, source=FIRST.source)
        memory.max_bytes = int(str(enough.value.fields["needed"]))
        before = [*memory.writes], [*memory.tail]
        with pytest.raises(refused):
            write_documents(model, memory, [Document(FIRST.source, text)], replace=True)
        assert ([*memory.writes], [*memory.tail]) == before
        # What was there makes room for what takes its place.
        write_documents(model, memory, [FIRST], replace=True)


def test_of_what_is_there_already_no_tokens_are_to_come() -> None:
    model = make_mplus()
    memory = model.new_memory()
    first, second = (FIRST.source, len(FIRST.text)), (SECOND.source, len(SECOND.text))
    assert parts_to_come(model, memory, [FIRST, SECOND, FIRST]) == [first, second]
    write_documents(model, memory, [FIRST])
    assert parts_to_come(model, memory, [FIRST]) == []
    assert parts_to_come(model, memory, [FIRST, SECOND]) == [second]
    grown = Document(FIRST.source, FIRST.text * 2)
    assert parts_to_come(model, memory, [grown]) == [first]
    piped = Document("-", FIRST.text)
    write_documents(model, memory, [piped])
    assert parts_to_come(model, memory, [piped]) == [("-", len(FIRST.text))]


SPANS = replace(
    CONFIG, retrieval=SpanRetrieval(span_rows=2, layer=1), drop="shared", retriever_layers=1
)


@pytest.mark.parametrize("given", [CONFIG, SPANS], ids=["rows", "spans"])
def test_as_many_writes_are_expected_as_short_texts_take(given: MemoryConfig) -> None:
    model = make_mplus(config=given)
    config = model.memory_config
    texts = ("abcdefghijklmnop"[: 1 + number % 5] for number in range(9))
    documents = [Document(f"file {number}", text) for number, text in enumerate(texts)]
    memory = model.new_memory()
    write_documents(model, memory, documents[:2])
    expected = writes_to_come(memory, parts_to_come(model, memory, documents))
    before = len(memory.writes)
    write_documents(model, memory, documents)
    made = [config.rows_of_write(one.tokens) for one in memory.writes[before:]]
    waiting = len(memory.tail) / config.chunk_tokens
    assert expected == pytest.approx(sum(made) / config.tokens_per_write + waiting)
    assert expected > 1.3 * sum(len(one.text) for one in documents[1:]) / config.chunk_tokens


@KINDS
def test_what_was_piped_in_is_replaced_too(opened: Opened, tmp_path: Path) -> None:
    model = make_mplus()
    with opened(model, tmp_path) as memory:
        for text in (FIRST.text, SECOND.text):
            done = write_documents(model, memory, [Document("-", text)], replace=True)
        assert done.replaced == ("-",)
        held = sum(one.tokens for one in memory.writes if one.source == "-")
        assert held + len(memory.tail) == len(SECOND.text)


@KINDS
def test_a_flush_of_what_is_there_writes_the_tail_alone(opened: Opened, tmp_path: Path) -> None:
    model = make_mplus()
    whole = model.new_memory()
    write_documents(model, whole, [SECOND], flush=True)
    with opened(model, tmp_path) as memory:
        write_documents(model, memory, [SECOND])
        waiting = len(memory.tail)
        assert waiting
        done = write_documents(model, memory, [SECOND], flush=True)
        assert (done.tokens, done.taken, done.waiting) == (waiting, 0, 0)
        assert torch.equal(rows_of(model, memory), rows_of(model, whole))


def test_standard_input_is_another_text_each_time() -> None:
    model = make_mplus()
    memory = model.new_memory()
    for _ in range(2):
        write_documents(model, memory, [Document("-", "A line.")])
    assert memory.tokens + len(memory.tail) == 2 * len("A line.")


@pytest.mark.parametrize("replace", [False, True])
def test_two_texts_under_one_name_are_refused_before_anything_is_written(replace: bool) -> None:
    model = make_mplus()
    memory = model.new_memory()
    write_documents(model, memory, [FIRST])
    held = memory.tokens, memory.tail
    two = [Document(FIRST.source, "One."), Document(FIRST.source, "Another.")]
    with pytest.raises(UsageError, match="have the same source"):
        write_documents(model, memory, [SECOND, *two], replace=replace)
    assert (memory.tokens, memory.tail) == held


def test_a_document_given_twice_is_written_once() -> None:
    model = make_mplus()
    memory = model.new_memory()
    write_documents(model, memory, [FIRST, FIRST])
    assert memory.tokens + len(memory.tail) == len(FIRST.text)
