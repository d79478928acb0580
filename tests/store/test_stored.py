"""A memory of a store as a value: shown, copied, closed, and shared by threads."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes import make_mplus
from tests.mplus.test_writer import assert_equal
from tests.mplus.test_writer import contents as model_contents
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story

from memplus.errors import ClosedMemoryError, UsageError
from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory
from memplus.store.limits import Limits

HOST = FakeHost()


@pytest.fixture
def memory(tmp_path: Path) -> StoredMemory:
    made = MemoryStore(tmp_path / "s", limits=SMALL).create("<alice>", HOST, seed=1)
    story(HOST, made)
    return made


def test_it_says_its_name_its_numbers_and_whether_it_is_open(
    memory: StoredMemory, tmp_path: Path
) -> None:
    shown = repr(memory)
    tokens, nbytes = memory.tokens, memory.nbytes
    for part in ("StoredMemory(id='<alice>'", f"tokens={tokens}", "waiting=2", f"nbytes={nbytes}"):
        assert part in shown
    assert "state=writing" in shown
    with MemoryStore(tmp_path / "s").open("<alice>", HOST) as reader:
        assert "state=reading" in repr(reader)
    assert "&#x27;&lt;alice&gt;&#x27;" in memory._repr_html_()
    memory.close()
    closed = repr(memory)
    assert f"tokens={tokens}" in closed
    assert f"nbytes={nbytes}" in closed
    assert "state=closed" in closed
    assert "state" in memory._repr_html_()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_a_plain_memory_that_goes_its_own_way(
    memory: StoredMemory, duplicate: Callable[[Memory], Memory], tmp_path: Path
) -> None:
    now = contents(memory)
    twin = duplicate(memory)
    assert type(twin) is Memory
    HOST.write(twin, [[1, 2, 3, 4]] * 20, "other")
    assert contents(memory) == now
    third = duplicate(memory)
    memory.close()
    assert contents(third) == now
    with MemoryStore(tmp_path / "s").open("<alice>", HOST) as again:
        assert contents(again) == now


def test_pickling_says_how_another_process_gets_it(memory: StoredMemory, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pickle.dumps(memory)
    assert f"MemoryStore({str(tmp_path / 's')!r}).open('<alice>', model)" in str(caught.value)


def test_a_closed_memory_refuses_everything_but_its_numbers(
    memory: StoredMemory, tmp_path: Path
) -> None:
    memory.close()
    memory.close()
    for use in (
        memory.texts,
        memory.history,
        memory.fork,
        memory.require_usable,
        lambda: copy.copy(memory),
        lambda: memory.save(tmp_path / "a.memory"),
        lambda: memory.forget(source="s1"),
        lambda: memory.rollback(0),
        lambda: HOST.write(memory, [[1, 2, 3, 4]]),
    ):
        with pytest.raises(ClosedMemoryError, match="'<alice>' is closed"):
            use()
    assert memory.closed
    assert len(memory.writes) == 46


def test_a_model_refuses_a_closed_memory(tmp_path: Path) -> None:
    model = make_mplus()
    with MemoryStore(tmp_path).create("alice", model) as memory:
        model.write(memory, "The gate is red.", flush=True)
    for use in (lambda: model.ask(memory, "Why?"), lambda: model.write(memory, "More.")):
        with pytest.raises(ClosedMemoryError) as caught:
            use()
        assert caught.value.message == "The memory 'alice' is closed."
        for said in ("inside the block", "open it again", "for writing with `write=True`"):
            assert said in caught.value.hint


LINES = 12


@pytest.mark.long
@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_threads_that_write_and_ask_one_memory_lose_nothing_and_see_whole_states(
    tmp_path: Path, durability: str
) -> None:
    model = make_mplus()
    limits = Limits(log=30_000, segment=30_000, snapshots=0)
    store = MemoryStore(tmp_path / "s", limits=limits, durability=durability, window=0.01)  # type: ignore[arg-type]
    memory = store.create("alice", model, seed=3)
    failed: list[BaseException] = []
    done = threading.Event()

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        return run

    def write(name: str) -> None:
        for number in range(LINES):
            model.write(memory, f"Box {number} of {name}. ", source=name, flush=number % 2 == 0)

    def ask() -> None:
        while not done.is_set():
            assert model.ask(memory, "Why?", max_new_tokens=2).text is not None
            seen = memory.fork()
            told = memory.texts()
            assert list(told) == list(range(1, len(told) + 1))  # a call's, once it has returned
            assert [record.id for record in seen.writes] == list(range(1, len(seen.writes) + 1))

    writers = [
        threading.Thread(target=guarded(lambda name=name: write(name)))  # type: ignore[misc]
        for name in ("one", "two", "three")
    ]
    asker = threading.Thread(target=guarded(ask))
    for thread in (*writers, asker):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    asker.join()
    assert not failed
    expected = {name: "".join(f"Box {n} of {name}. " for n in range(LINES)) for name in
                ("one", "two", "three")}  # fmt: skip
    written = sum(record.tokens for record in memory.writes) + len(memory.tail)
    assert written == sum(len(model.encode(text)) for text in expected.values())
    memory.flush()
    now = model_contents(memory)
    texts: dict[str, str] = {}
    for said in memory.texts().values():
        texts[said.source] = texts.get(said.source, "") + said.text
    texts[memory.tail_source] = texts.get(memory.tail_source, "") + memory.tail_text
    assert texts == expected
    memory.close()
    with store.open("alice", model) as again:
        assert_equal(model_contents(again), now)
    store.verify("alice")


def test_completion_offers_what_is_for_users(tmp_path: Path) -> None:
    with MemoryStore(tmp_path / "s").create("alice", FakeHost()) as memory:
        names = set(dir(memory))
        assert {"id", "close", "history", "rollback", "fork", "forget", "texts"} <= names
        assert not {"before_write", "wrote", "commit", "take_in", "long_term_of"} & names
        assert all(hasattr(memory, name) for name in names)
