"""Whatever ends a change of a memory, the memory is what it was before or what it was to be."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.fakes import CONFIG, make_mplus, some_ids

from memplus.config import CounterEviction, OldestEviction
from memplus.memory.long_term import LongTermPool
from memplus.memory.rows import RowTable
from memplus.memory.short_term import ShortTermPool
from memplus.memory.state import Memory
from memplus.memory.undoing import uninterrupted
from memplus.mplus.model import MPlus


def words(count: int, seed: int = 3) -> list[int]:
    found: list[int] = some_ids(count, seed=seed).tolist()
    return found


def content(memory: Memory, folder: Path) -> dict[str, Any]:
    """All that is saved of a memory, but how often it was changed."""
    path = folder / f"{time.monotonic_ns()}.memory"
    memory.fork().save(path)
    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["memplus"])
        tensors = {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
    del found["memory_version"], found["tail_source"]  # of a tail, and none is left here
    return found | tensors


def failing(patch: pytest.MonkeyPatch, owner: type, name: str, at: int) -> None:
    """Let a method fail at its n-th call."""
    before: Callable[..., Any] = getattr(owner, name)
    calls = [0]

    def maybe(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise MemoryError
        return before(*given, **named)

    patch.setattr(owner, name, maybe)


PLACES = [
    (RowTable, "append", 1),
    (RowTable, "append", 3),
    (RowTable, "keep", 2),
    (ShortTermPool, "rows_at", 1),
    (LongTermPool, "append", 1),
    (Memory, "wrote", 1),
]


@pytest.mark.parametrize("chunks", [0, 2, 12])
@pytest.mark.parametrize("place", PLACES, ids=lambda one: f"{one[1]}-{one[2]}")
@pytest.mark.parametrize("rows", ["exact", "int2"])
def test_a_write_that_fails_leaves_the_memory_as_it_was(
    tmp_path: Path, place: tuple[type, str, int], chunks: int, rows: str
) -> None:
    """And the same text, written then, gives what it gives a memory in which nothing failed."""
    model = make_mplus(config=replace(CONFIG, eviction=OldestEviction(max_rows=30)))
    memory = model.new_memory(seed=5, rows=rows)  # type: ignore[arg-type]
    if chunks:
        model.write(memory, words(10 * chunks), source="a", flush=True)
    twin, before, version = memory.fork(), content(memory, tmp_path), memory.version
    ids = some_ids(6, seed=1)
    with torch.no_grad():
        read = model(ids, memory=memory).logits
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, *place)
        try:
            model.write(memory, words(10, 8), source="b", flush=True)
        except MemoryError:
            assert content(memory, tmp_path) == before
            assert memory.version == version
            assert len(memory.writes) == chunks
            with torch.no_grad():
                assert model(ids, memory=memory).logits.equal(read)
            assert model.write(memory, words(10, 8), source="b", flush=True).chunks == 1
    model.write(twin, words(10, 8), source="b", flush=True)
    assert content(memory, tmp_path) == content(twin, tmp_path)


def test_counters_that_a_failing_write_has_lowered_are_as_they_were(tmp_path: Path) -> None:
    rule = CounterEviction(every=1, initial=1.0, decay=0.25)
    model = make_mplus(config=replace(CONFIG, eviction=rule))
    memory = model.new_memory()
    model.write(memory, words(120), flush=True)
    before = content(memory, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, RowTable, "replace", 2)
        with pytest.raises(MemoryError):
            model.write(memory, words(10, 8), flush=True)
    assert content(memory, tmp_path) == before


CHANGES: dict[str, Callable[[Memory], object]] = {
    "forget": lambda memory: memory.forget(source="a"),
    "pack": lambda memory: memory.pack("int4"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_forgetting_or_packing_that_fails_changes_nothing(
    tmp_path: Path, change: str, error: type[BaseException], at: int
) -> None:
    model, calls = make_mplus(), [0]
    memory = model.new_memory()
    model.write(memory, words(60, 1), source="a", flush=True)
    model.write(memory, words(40, 2), source="b", flush=True)
    twin, before, ids = memory.fork(), content(memory, tmp_path), some_ids(6, seed=1)
    with torch.no_grad():
        read = model(ids, memory=memory).logits

    def stopped(*given: object, **named: object) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        for name in ("keep", "blocks", "columns", "between", "__getitem__"):
            own = getattr(RowTable, name)

            def maybe(*given: Any, _own: Callable[..., Any] = own, **named: Any) -> Any:
                stopped()
                return _own(*given, **named)

            patch.setattr(RowTable, name, maybe)
        with pytest.raises(error):
            CHANGES[change](memory)
    assert content(memory, tmp_path) == before
    with torch.no_grad():
        assert model(ids, memory=memory).logits.equal(read)
    CHANGES[change](memory)
    CHANGES[change](twin)
    assert content(memory, tmp_path) == content(twin, tmp_path)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_ctrl_c_while_a_memory_is_changed_leaves_one_that_opens(
    tmp_path: Path, change: str, share: float
) -> None:
    model = _long()
    memory = model.new_memory()
    for number in range(4):
        model.write(memory, words(3000, number), source="ab"[number % 2], flush=True)
    begun = time.perf_counter()
    CHANGES[change](memory.fork())
    seconds = time.perf_counter() - begun
    before = content(memory, tmp_path)
    main = threading.get_ident()
    timer = threading.Timer(share * seconds, signal.pthread_kill, (main, signal.SIGINT))
    try:
        timer.start()
        CHANGES[change](memory)
        timer.join()  # however late a busy machine fires it, it is met in here
        time.sleep(0.05)
        changed = True
    except KeyboardInterrupt:
        changed = content(memory, tmp_path) != before
    timer.join()
    memory.save(tmp_path / "saved.memory")
    again = Memory.load(tmp_path / "saved.memory", model)
    assert content(again, tmp_path) == content(memory, tmp_path)
    if not changed:
        CHANGES[change](memory)


def _long() -> MPlus:
    sizes = replace(
        CONFIG, short_term_tokens=60, tokens_per_write=50, chunk_tokens=50, retrieved_tokens=20
    )
    return make_mplus(config=sizes)


def test_ctrl_c_waits_until_the_block_ends() -> None:
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        seen.append("whole")
    assert seen == ["whole"]
