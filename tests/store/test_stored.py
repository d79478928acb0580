"""A memory of a store as a value: shown, copied, closed, and shared by threads."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes import make_mplus
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story

from memplus.errors import ReadOnlyMemoryError, UsageError
from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory

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
        with pytest.raises(ReadOnlyMemoryError, match="it is closed"):
            use()
    assert memory.closed
    assert len(memory.writes) == 46


def test_a_model_refuses_a_closed_memory(tmp_path: Path) -> None:
    model = make_mplus()
    with MemoryStore(tmp_path).create("alice", model) as memory:
        model.write(memory, "The gate is red.", flush=True)
    with pytest.raises(ReadOnlyMemoryError, match="it is closed"):
        model.ask(memory, "Why?")
    with pytest.raises(ReadOnlyMemoryError, match="it is closed"):
        model.write(memory, "More.")
