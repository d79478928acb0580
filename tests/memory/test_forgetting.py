"""What is to be forgotten is named, and what is not there is an error that says what is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS
from tests.store.fakes import SMALL, FakeHost

from memplus.errors import UnknownSourceError, UsageError
from memplus.memory.forgetting import chosen_writes
from memplus.memory.packing import RowKind, centres_of, share_of
from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory

HOST = FakeHost()


@pytest.fixture(params=["plain", "stored"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Memory:
    if request.param == "plain":
        made: Memory = HOST.new_memory()
    else:
        made = MemoryStore(tmp_path, limits=SMALL).create("alice", HOST)
    HOST.write(made, [[1, 2, 3, 4], [5, 6, 7, 8]], "a.txt")
    HOST.write(made, [[9, 10, 11, 12]], "cafe\u0301.txt", [13])
    return made


def test_an_unknown_source_is_an_error_that_lists_those_that_are_there(memory: Memory) -> None:
    version = memory.version
    with pytest.raises(UnknownSourceError) as caught:
        memory.forget(source="a.tx")
    assert "'a.txt', 'cafe\u0301.txt'" in str(caught.value)
    assert memory.version == version
    memory.forget(source="a.txt")
    with pytest.raises(UnknownSourceError, match=r"'a\.txt'"):  # it is gone
        memory.forget(source="a.txt")


def test_a_memory_that_forgot_in_inference_mode_is_written_to_outside_it() -> None:
    model = make_mplus()
    memory = model.new_memory()
    for source in ("a", "b"):
        model.write(memory, some_ids(30).tolist(), source=source, flush=True)
    with torch.inference_mode():
        memory.forget(source="a")
    model.write(memory, some_ids(40).tolist(), source="c", flush=True)
    assert {one.source for one in memory.writes if one.tokens} == {"b", "c"}


@pytest.mark.parametrize("stored", [False, True], ids=["plain", "stored"])
def test_newest_rows_that_left_the_pool_are_kept_when_all_others_are_forgotten(
    tmp_path: Path, stored: bool
) -> None:
    """Short writes of spans may drop rows that are still among the K newest."""
    model = make_mplus(config=SPANS)
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    for seed in range(100):
        name = str(seed)
        memory = store.create(name, model, seed=seed) if stored else model.new_memory(seed=seed)
        for number in range(8):
            model.write(memory, [number] * SPANS.span_rows, source=name, flush=True)
        assert memory.pool is not None
        if 7 not in memory.pool.write_id:
            break
    assert memory.pool is not None
    memory.forget(write=range(1, 7))
    recent = memory.pool.recent
    assert recent.shape[1] > memory.pool.count == SPANS.span_rows
    if isinstance(memory, StoredMemory):
        memory.close()
        again: Memory = store.open(name, model, write=True)
    else:
        memory.save(tmp_path / "m")
        again = Memory.load(tmp_path / "m", model)
    assert again.pool is not None
    assert torch.equal(again.pool.recent, recent)
    model.write(again, some_ids(3).tolist(), flush=True)
    assert again.short_term_rows == 2 * SPANS.span_rows


def test_rows_that_leave_the_pool_for_an_empty_layer_share_what_the_pool_holds_with_it() -> None:
    """In 2 bits; few as they are, they would not tell what later rows lie along."""
    model = make_mplus(config=CONFIG, changes={"num_key_value_heads": 1, "head_dim": 16})
    anew = 0
    for seed in range(3):
        memories = [model.new_memory(seed, rows=rows) for rows in ("int2", "exact")]
        for memory in memories:
            model.write(memory, some_ids(40).tolist(), source="gone", flush=True)
            model.write(memory, some_ids(20, seed=1).tolist(), source="kept", flush=True)
        narrow = memories[0]
        assert narrow.long_term is not None
        before = [dict(table.centres) for table in narrow.long_term.tables]
        for memory in memories:
            memory.forget(source="gone")
        exact = memories[1]
        assert exact.long_term is not None
        assert exact.pool is not None
        for layer, table in enumerate(narrow.long_term.tables):
            if not table.centres or torch.equal(table.centres["v"], before[layer]["v"]):
                continue
            anew += 1
            rows, held = exact.long_term.tables[layer], exact.pool.held
            all_of_them = {name: torch.cat([rows[name], held[name][layer]]) for name in ("k", "v")}
            for name, wanted in centres_of(all_of_them, "int2", share_of(table)).items():
                assert torch.allclose(table.centres[name].abs(), wanted.abs(), atol=1e-4)
    assert anew


def test_a_memory_without_sources_says_so() -> None:
    with pytest.raises(UnknownSourceError, match="It has none"):
        HOST.new_memory().forget(source="a.txt")


def test_many_sources_are_not_all_listed() -> None:
    memory = HOST.new_memory()
    for number in range(30):
        HOST.write(memory, [[number, 2, 3, 4]], f"{number}.txt")
    with pytest.raises(UnknownSourceError, match=r"'11\.txt' and 18 more") as caught:
        memory.forget(source="no")
    assert "12.txt" not in str(caught.value)


def test_a_source_is_found_in_whatever_form_unicode_writes_its_name(memory: Memory) -> None:
    gone = memory.forget(source="caf\u00e9.txt")
    assert (gone.writes, gone.tail_tokens) == ((3,), 1)


def test_an_exact_name_means_that_source_alone() -> None:
    memory = HOST.new_memory()
    for name in ("caf\u00e9", "cafe\u0301"):
        HOST.write(memory, [[1, 2, 3, 4]], name)
    assert chosen_writes(memory, "caf\u00e9", None).writes == {1}


def test_a_source_that_only_waits_in_the_tail_can_be_forgotten() -> None:
    memory = HOST.new_memory()
    HOST.write(memory, [], "a.txt", [1, 2])
    gone = memory.forget(source="a.txt")
    assert (gone.writes, gone.tail_tokens, memory.tail) == ((), 2, [])


@pytest.mark.parametrize("write", [0, -1, 4, [1, 9]])
def test_an_unknown_write_is_an_error(memory: Memory, write: int | list[int]) -> None:
    with pytest.raises(UsageError, match="There is no write"):
        memory.forget(write=write)


def test_a_text_that_nobody_wrote_is_an_error(tmp_path: Path) -> None:
    with MemoryStore(tmp_path, limits=SMALL).create("alice", HOST) as memory:
        HOST.write(memory, [[1, 2, 3, 4]], "a.txt")
        commits = len(memory.history())
        with pytest.raises(UsageError, match="holds 'zebra'"):
            memory.forget(match="zebra")
        with pytest.raises(UsageError, match="holds 'zebra'"):
            memory.forget(source="a.txt", match="zebra")
        assert len(memory.history()) == commits
        assert memory.forget(match="WORD3").writes == (1,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"write": "x"}, {"write": 1.5}, {"write": True}, {"write": [None]}, {"write": [True]},
        {"source": 5}, {"source": b"a"},
    ],
)  # fmt: skip
def test_what_names_no_write_and_no_source_is_refused(memory: Memory, wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"named by its number|source is text"):
        memory.forget(**wrong)
    assert all(record.tokens for record in memory.writes)


def test_a_source_whose_tail_waits_goes_on_where_it_was(memory: Memory) -> None:
    HOST.write(memory, [[14, 15, 16, 17]], "b.txt", [18, 19])
    memory.forget(write=4)
    assert memory.source_tokens["b.txt"] == 4
    HOST.write(memory, [[18, 19, 20, 21]], "b.txt")
    assert (memory.writes[-1].start, memory.source_tokens["b.txt"]) == (4, 8)
    memory.forget(source="b.txt")
    assert "b.txt" not in memory.source_tokens


def test_the_tail_of_a_source_whose_chunks_are_forgotten_is_told_where_it_lies() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, "A" * 25, source="s")
    memory.forget(write=[1, 2])
    (told,) = model.ask(memory, "hi?", max_new_tokens=1).evidence
    assert (told.source, told.start, told.text) == ("s", 20, "A" * 5)


@pytest.mark.parametrize("rows", ["int8", "int4", "int2"])
def test_what_few_first_rows_have_in_common_is_none_of_them(rows: RowKind) -> None:
    model = make_mplus()
    narrow, exact = model.new_memory(2, rows=rows), model.new_memory(2, rows="exact")
    for memory in (narrow, exact):
        model.write(memory, [1], source="secret", flush=True)
        for seed in range(4):
            model.write(memory, some_ids(10, seed=seed).tolist(), source="o", flush=True)
    packed_later = exact.fork()
    packed_later.pack(rows)
    assert exact.long_term is not None
    assert exact.long_term.tables[1]["write_id"].tolist() == [1]
    secret = exact.long_term.tables[1]["k"][0].clone()
    for memory in (narrow, packed_later):
        model.write(memory, some_ids(60, seed=9).tolist(), source="o", flush=True)
        memory.forget(source="secret")
        assert memory.long_term is not None
        away = (memory.long_term.tables[1].centres["k"] - secret).norm()
        assert away > secret.norm() / 2
