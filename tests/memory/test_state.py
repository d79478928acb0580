"""A memory is a value: forks go their own way, live reads too."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.mplus.test_writer import assert_equal, contents

from memplus import Memory
from memplus.config import CounterEviction, OldestEviction
from memplus.errors import StaleCacheError, UsageError

RULES = [CONFIG.eviction, OldestEviction(max_rows=14), CounterEviction(every=2, initial=2.0)]


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
@pytest.mark.parametrize("tokens", [0, 7, 26, 90])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_neither_of_two_forks_shows_in_the_other(name: str, tokens: int, rule: object) -> None:
    model = make_mplus(name, replace(CONFIG, eviction=rule))

    def start() -> Memory:
        memory = model.new_memory(seed=2)
        if tokens:
            model.write(memory, some_ids(tokens).tolist(), source="a")
        return memory

    memory = start()
    before = contents(memory)
    fork = memory.fork()
    assert_equal(contents(fork), before)
    model.write(fork, some_ids(33, seed=1).tolist(), source="b")
    assert_equal(contents(memory), before)
    late = fork.fork()
    after = contents(fork)
    model.write(memory, some_ids(52, seed=2).tolist(), source="c")
    assert_equal(contents(fork), after)
    assert_equal(contents(late), after)

    # Each is what it would be without the other.
    alone = start()
    model.write(alone, some_ids(33, seed=1).tolist(), source="b")
    assert_equal(contents(fork), contents(alone))
    alone = start()
    model.write(alone, some_ids(52, seed=2).tolist(), source="c")
    assert_equal(contents(memory), contents(alone))


@pytest.mark.parametrize("tokens", [26, 90])
@pytest.mark.parametrize("writer", ["origin", "fork"])
def test_a_live_read_goes_on_after_the_other_ones_write(tokens: int, writer: str) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(tokens).tolist())
    fork = memory.fork()
    read, written = (fork, memory) if writer == "origin" else (memory, fork)
    with torch.no_grad():
        live = model(some_ids(5), memory=read, use_cache=True)
        undisturbed = model(some_ids(5), memory=read, use_cache=True)
        expected = model(some_ids(3), memory=read, past_key_values=undisturbed.past_key_values)
        model.write(written, some_ids(40, seed=3).tolist())
        model(some_ids(6), memory=written)
        found = model(some_ids(3), memory=read, past_key_values=live.past_key_values)
    assert torch.equal(found.logits, expected.logits)
    with pytest.raises(StaleCacheError):
        model(some_ids(1), memory=written, past_key_values=live.past_key_values)


def test_new_memories_share_nothing_that_changes() -> None:
    model = make_mplus()
    first, second = model.new_memory(), model.new_memory()
    blank = contents(second)
    model.write(first, some_ids(60).tolist())
    assert_equal(contents(second), blank)
    assert_equal(contents(model.new_memory()), blank)


def test_sizes_are_those_of_the_tensors() -> None:
    model = make_mplus()
    memory = model.new_memory()
    assert (memory.nbytes, memory.tokens, memory.short_term_rows, memory.long_term_rows) == (
        0, 0, 0, 0,
    )  # fmt: skip
    model.write(memory, some_ids(95).tolist())
    tensors = {n: t for n, t in contents(memory).items() if n.startswith(("pool", "store"))}
    assert memory.nbytes == sum(t.numel() * t.element_size() for t in tensors.values())
    assert (memory.tokens, memory.short_term_rows, memory.long_term_rows) == (90, 24, 30)
    assert "long_term=30" in repr(memory)


def test_every_row_is_somewhere_with_its_write() -> None:
    """Rows of 9 writes: 24 newest-by-luck in the pool, the others in the store, none twice."""
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(90).tolist())
    assert memory.pool is not None
    assert memory.long_term is not None
    for layer, table in enumerate(memory.long_term.tables):
        births = [*memory.pool.birth[layer].tolist(), *table["birth"].tolist()]
        assert sorted(births) == list(range(1, 55))
        ids = [*memory.pool.write_id[layer].tolist(), *table["write_id"].tolist()]
        assert sorted(zip(births, ids)) == [(b, (b - 1) // 6 + 1) for b in range(1, 55)]


def test_without_its_long_term_store_a_memory_is_a_memoryllm() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(95).tolist())
    before = contents(memory)
    short = memory.short_term_only()
    model.write(short, some_ids(30, seed=1).tolist())
    assert_equal(contents(memory), before)
    assert short.long_term_rows == 0
    model.write(memory, some_ids(30, seed=1).tolist())
    assert memory.pool is not None
    assert short.pool is not None
    # The same drops serve both.
    assert torch.equal(short.pool.birth, memory.pool.birth)
    assert torch.equal(short.pool.columns["k"], memory.pool.columns["k"])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_is_a_fork(copied: Callable[[Memory], Memory]) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(47).tolist(), source="a")
    before = contents(memory)
    twin = copied(memory)
    assert_equal(contents(twin), before)
    model.write(twin, some_ids(30, seed=1).tolist(), source="b")
    assert_equal(contents(memory), before)
    assert {record.source for record in memory.writes} == {"a"}


def test_pickling_says_what_to_use_instead() -> None:
    memory = make_mplus().new_memory()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(UsageError, match=r"memory.save\(path\)"):
            pickle.dumps(memory, protocol)


def test_a_memory_shows_what_it_holds() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(47).tolist(), source="a <b>")
    shown = repr(memory)
    for part in ("tokens=40", "waiting=7", "writes=4", f"nbytes={memory.nbytes}"):
        assert part in shown
    page = memory._repr_html_()
    assert "<th>waiting</th><td>7</td>" in page


def test_completion_offers_what_is_for_users() -> None:
    memory = make_mplus().new_memory()
    names = dir(memory)
    assert all(hasattr(memory, name) for name in names)
    assert {"fork", "save", "load", "forget", "tokens", "tail", "writes"} <= set(names)
    inner = {"take_in", "draw_drop", "commit", "wrote", "derived", "pool", "recent", "clock"}
    assert not inner & set(names)


@pytest.mark.parametrize("change", ["cut", "overwritten"])
def test_a_loaded_memory_does_not_change_with_its_file(tmp_path: Path, change: str) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(100).tolist())
    memory.save(tmp_path / "a.memory")
    loaded = Memory.load(tmp_path / "a.memory", model)
    with (tmp_path / "a.memory").open("r+b") as file:  # as `cp` over it would
        size = file.seek(0, 2)
        file.seek(0)
        file.truncate(10) if change == "cut" else file.write(b"\xff" * size)
    assert_equal(contents(loaded), contents(memory))
    model.write(loaded, some_ids(30, seed=1).tolist())
    assert loaded.tokens == 130


def test_a_block_that_raises_has_written_nothing() -> None:
    model = make_mplus()
    memory, twin = model.new_memory(seed=3), model.new_memory(seed=3)
    ids = some_ids(57, seed=1).tolist()
    for one in (memory, twin):
        model.write(one, ids, source="a")
    before, version = saved_tensors(memory), memory.version
    with pytest.raises(KeyError), memory.undivided():
        model.write(memory, some_ids(61, seed=2).tolist(), source="b")
        raise KeyError("no")
    assert memory.version > version  # what was read meanwhile is stale
    assert same(saved_tensors(memory), before)
    assert (memory.writes, memory.tail) == (twin.writes, twin.tail)
    assert memory.source_tokens == twin.source_tokens
    for one in (memory, twin):
        model.write(one, some_ids(61, seed=4).tolist(), source="c")
    assert same(saved_tensors(memory), saved_tensors(twin))


def test_a_block_that_ends_has_written_all() -> None:
    model = make_mplus()
    memory, twin = model.new_memory(), model.new_memory()
    with memory.undivided("a label that nothing keeps"):
        model.write(memory, some_ids(33).tolist())
    model.write(twin, some_ids(33).tolist())
    assert same(saved_tensors(memory), saved_tensors(twin))


def saved_tensors(memory: Memory) -> dict[str, torch.Tensor]:
    """Copies of all rows."""
    found = {}
    if memory.pool is not None:
        found |= {name: tensor.clone() for name, tensor in memory.pool.tensors().items()}
    if memory.long_term is not None:
        for layer, table in enumerate(memory.long_term.tables):
            found |= {f"{layer}.{name}": one.clone() for name, one in table.columns().items()}
    return found


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)
