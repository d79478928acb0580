"""The store under a real model: answers, texts, forgetting and 8-bit rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.mplus.test_writer import assert_equal, contents

from memplus import Memory
from memplus.errors import BrokenTextError, BudgetError, MemoryMismatchError
from memplus.memory.packing import RowKind, pack, unpack
from memplus.store import MemoryStore
from memplus.store.limits import Limits

SMALL = Limits(log=30_000, segment=30_000, snapshots=0)
TEXT = "The gate is réd. Nobody — nobody! — knows why… " * 6


@pytest.mark.long
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_stored_memory_reads_and_writes_like_a_plain_one(tmp_path: Path, name: str) -> None:
    model = make_mplus(name)
    store = MemoryStore(tmp_path / "s", limits=SMALL, ram=1 << 20)
    stored, plain = store.create("alice", model, seed=3), model.new_memory(seed=3)
    for turn in range(5):
        for memory in (stored, plain):
            model.write(memory, TEXT, source=f"text {turn % 2}")
            model.write_chunk(memory, some_ids(7)) if not memory.tail else None
        if turn == 2:
            stored.close()
            stored = store.open("alice", model, write=True)
        assert_equal(contents(stored), contents(plain))
        with torch.no_grad():
            logits = [model(some_ids(9), memory=memory).logits for memory in (stored, plain)]
        assert torch.equal(*logits)
    assert stored.keeper.manifest.segments
    assert model.ask(stored, "Why?").text == model.ask(plain, "Why?").text
    fork = stored.fork()
    model.write(fork, TEXT, source="another")
    assert_equal(contents(stored), contents(plain))
    stored.close()


def test_texts_of_writes_are_the_text_even_within_a_character(tmp_path: Path) -> None:
    model = make_mplus()  # one token per byte, ten to a chunk: characters are cut in two
    with MemoryStore(tmp_path / "s").create("alice", model) as memory:
        model.write(memory, TEXT[:33], source="a")
        model.write(memory, TEXT[33:], source="a", flush=True)
        told = memory.texts()
        assert "".join(one.text for one in told.values()) == TEXT
        for one in told.values():
            assert TEXT[one.first_char :].startswith(one.text)
        ids = [token for one in told.values() for token in one.ids]
        assert ids == model.encode(TEXT[:33]) + model.encode(TEXT[33:])


def test_a_source_whose_name_is_no_text_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    model = make_mplus()
    name = b"caf\xe9.txt".decode(errors="surrogateescape")
    with MemoryStore(tmp_path / "s").create("alice", model) as memory:
        plain = model.new_memory()
        before = (memory.version, memory.generator.get_state().tolist())
        with pytest.raises(BrokenTextError, match=r"source is not valid text.*U\+DCE9.* 3"):
            model.write([plain, memory], [TEXT, TEXT], source=["a", name], flush=True)
        assert (memory.version, memory.generator.get_state().tolist()) == before
        assert not plain.writes
        assert len(memory.history()) == 1
        model.write(memory, TEXT, source="a", flush=True)
    assert MemoryStore(tmp_path / "s").verify("alice")


def test_rebuilt_without_a_source_it_never_saw_it(tmp_path: Path) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory, never = store.create("alice", model, seed=1), model.new_memory(seed=1)
    for turn, source in enumerate("abcabacb"):
        ids = some_ids(20 + 10 * (turn % 3), seed=turn).tolist()  # whole chunks
        model.write(memory, ids, source=source)
        if source != "b":
            model.write(never, ids, source=source)
    cheap = memory.fork()
    cheap.forget(source="b")
    memory.forget(source="b", rebuild=True)
    assert_equal(contents(memory), contents(never))
    with pytest.raises(AssertionError):  # later writes had attended to what is forgotten
        assert_equal(contents(cheap), contents(never))
    memory.close()
    with store.open("alice", model) as memory:
        assert_equal(contents(memory), contents(never))


def test_a_refused_write_leaves_nothing_and_the_budget_lasts(tmp_path: Path) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path / "s")
    store.create("alice", model, max_bytes=30_000).close()
    with store.open("alice", model, write=True) as memory:
        with pytest.raises(BudgetError):
            model.write(memory, TEXT * 50)
        assert not memory.writes
        assert [commit.what for commit in memory.history()] == ["create"]


def test_another_adapter_or_weight_is_named(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    store.create("alice", make_mplus()).close()
    other = make_mplus()
    with torch.no_grad():
        other.weights.memory_embedding[..., 0] += 1
    with pytest.raises(MemoryMismatchError, match="memory weights differ"):
        store.open("alice", other)


def test_what_wrote_a_memory_is_named_where_another_model_opens_it(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    written, other = make_mplus(), make_mplus(dtype=torch.bfloat16)
    with store.create("alice", written) as memory:
        written.write(memory, TEXT)
    with pytest.raises(MemoryMismatchError, match="in float32, and this model is in bfloat16"):
        store.open("alice", other)
    other.core.name = "other"
    with pytest.raises(MemoryMismatchError, match=f"{written.name} wrote it in float32, and this"):
        store.open("alice", other)


@pytest.mark.long
@pytest.mark.parametrize(("rows", "most"), [("int8", 0.1), ("int4", 1.5), ("int2", 5.0)])
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_packed_rows_are_the_same_wherever_they_are(
    tmp_path: Path, name: str, rows: RowKind, most: float
) -> None:
    model = make_mplus(name)
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    plain, exact = model.new_memory(seed=3), model.new_memory(seed=3)
    plain.pack(rows)
    with store.create("alice", model, seed=3, rows=rows) as memory:
        for one in (memory, plain, exact):
            model.write(one, TEXT * 2)
        assert_equal(contents(memory), contents(plain))
    plain.save(tmp_path / "m.memory")
    assert_equal(contents(Memory.load(tmp_path / "m.memory", model)), contents(plain))
    with store.open("alice", model) as memory, torch.no_grad():
        assert_equal(contents(memory), contents(plain))
        prompt = some_ids(9)
        packed = model(prompt, memory=memory).logits
        assert torch.equal(packed, model(prompt, memory=plain).logits)
        distance = (packed - model(prompt, memory=exact).logits).abs().max()
        assert 0 < distance < most
        assert memory.nbytes < exact.nbytes
        exact.pack(rows)
        assert exact.nbytes == memory.nbytes
        later = model(prompt, memory=exact).logits
        assert (later - packed).abs().max() < most


def test_packing_is_off_by_at_most_half_a_level() -> None:
    rows = torch.randn(50, 3, 8, generator=torch.Generator().manual_seed(0))
    rows[7] = 0
    packed = pack({"k": rows, "birth": torch.arange(50)}, "int8")
    assert packed["k"].dtype == torch.int8
    back = unpack(packed["k"], packed["k.scale"], torch.float32)
    largest = rows.abs().amax(dim=(1, 2))
    assert ((rows - back).abs().amax(dim=(1, 2)) <= largest / 254 + 1e-7).all()
    assert packed["birth"].tolist() == list(range(50))


def test_a_write_to_its_own_model_compares_no_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_mplus()
    with MemoryStore(tmp_path / "s").create("alice", model) as memory:
        assert memory.owner is model.core
        asked: list[str] = []
        monkeypatch.setattr(
            type(model.core), "fingerprint", property(lambda core: asked.append("digest") or "")
        )
        model.write(memory, TEXT, source="a", flush=True)
        model(some_ids(5), memory=memory)
        assert not asked
