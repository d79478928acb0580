"""Rows in 2 bits of which upper layers keep more than lower ones: packed, kept, opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import make_mplus, some_ids
from tests.mplus.test_span_memories import PROMPT, SMALL, logits, told
from tests.mplus.test_writer import assert_equal, contents
from tests.passes.test_span_queries import SPANS

from memplus import Memory, MPlus
from memplus.config import SpanRetrieval
from memplus.errors import CorruptMemoryError
from memplus.memory.bounds import shared_by
from memplus.memory.packing import MORE, Share, leading_of, share_of
from memplus.memory.tensor_file import TensorFile, write_tensors
from memplus.store import MemoryStore

SIZES = {"num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 6}
DEEP = make_mplus(config=SPANS, changes=SIZES)
MIXED = [Share.LOWER] * 4 + [Share.UPPER] * 2
ALIKE = [Share.SAME] * 6


def shares(memory: Memory) -> list[Share]:
    assert memory.long_term is not None
    return [share_of(table) for table in memory.long_term.tables]


def as_before(patch: pytest.MonkeyPatch) -> None:
    """Every layer keeps as much, as earlier releases had it."""
    patch.setattr(Share, "of", lambda *_: Share.SAME)


def test_upper_layers_keep_more() -> None:
    memory = told(DEEP, DEEP.new_memory(seed=1, rows="int2"))
    assert shares(memory) == MIXED
    assert memory.long_term is not None
    lower, upper = (memory.long_term.tables[at] for at in (0, 5))
    assert {name for name in upper.names if name.endswith(MORE)} == {"k.more", "v.more"}
    assert not any(name.endswith(MORE) for name in lower.names)
    for name in ("k", "v"):
        assert lower[name].shape == upper[name].shape
    assert lower.centres[leading_of("k")].shape == (1, 16, 10)
    assert upper.centres[leading_of("k")].shape == (1, 16, 14)


def test_upper_layers_are_nearer_to_what_was_computed() -> None:
    exact = told(DEEP, DEEP.new_memory(seed=1, rows="exact")).long_term
    kept = told(DEEP, DEEP.new_memory(seed=1, rows="int2")).long_term
    assert exact is not None
    assert kept is not None
    everything = torch.arange(len(kept))
    for name in ("k", "v"):
        off = []
        for layer, table in enumerate(exact.tables):
            rows = table[name].float()
            found = kept.take(layer, name, everything, torch.float32)
            apart = rows - rows.mean(dim=0)
            off.append(float((found - rows).square().sum() / apart.square().sum()))
        lower, upper = sum(off[:4]) / 4, sum(off[4:]) / 2
        assert 0 < 1.5 * upper < lower < 0.3


@pytest.mark.parametrize("earlier", [False, True])
def test_a_saved_memory_is_opened_as_it_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, earlier: bool
) -> None:
    with monkeypatch.context() as patch:
        if earlier:
            as_before(patch)
        memory = told(DEEP, DEEP.new_memory(seed=1, rows="int2"))
        memory.save(tmp_path / "m")
        wanted = logits(DEEP, memory)
    opened = Memory.load(tmp_path / "m", DEEP)
    assert shares(opened) == (ALIKE if earlier else MIXED)
    assert shared_by(load_file(tmp_path / "m")) == (not earlier)
    assert_equal(contents(opened), contents(memory))
    assert torch.equal(logits(DEEP, opened), wanted)
    for one in (opened, memory):
        told(DEEP, one, (30, 2))
    assert shares(opened) == (ALIKE if earlier else MIXED)
    assert_equal(contents(opened), contents(memory))
    opened.save(tmp_path / "again")
    assert_equal(contents(Memory.load(tmp_path / "again", DEEP)), contents(opened))


@pytest.mark.parametrize("earlier", [False, True])
def test_a_stored_memory_goes_on_as_it_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, earlier: bool
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with monkeypatch.context() as patch:
        if earlier:
            as_before(patch)
        plain = DEEP.new_memory(seed=3, rows="int2")
        with store.create("alice", DEEP, seed=3, rows="int2") as stored:
            for memory in (stored, plain):
                told(DEEP, memory)
    for _ in range(2):
        with store.open("alice", DEEP, write=True) as stored:
            assert shares(stored) == (ALIKE if earlier else MIXED)
            assert torch.equal(logits(DEEP, stored), logits(DEEP, plain))
            for memory in (stored, plain):
                told(DEEP, memory, (29, 2, 17))
            assert_equal(contents(stored), contents(plain))
            assert stored.keeper.manifest.segments
    assert store.verify("alice")
    store.export("alice", tmp_path / "alice.zip")
    store.import_memory(tmp_path / "alice.zip", name="bob")
    with store.open("bob", DEEP, write=True) as bob:
        for memory in (bob, plain):
            memory.forget(source="text 1")
        assert torch.equal(logits(DEEP, bob), logits(DEEP, plain))
        bob.forget(write=[], rebuild=True)
        assert shares(bob) == MIXED


def test_memories_of_both_kinds_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        as_before(patch)
        older = told(DEEP, DEEP.new_memory(seed=1, rows="int2"))
    newer = told(DEEP, DEEP.new_memory(seed=1, rows="int2"))
    with torch.no_grad():
        found = DEEP(PROMPT.expand(2, -1), memory=[older, newer]).logits
    for memory, one in zip((older, newer), found, strict=True):
        assert torch.allclose(one, logits(DEEP, memory)[0], atol=1e-4)


@pytest.mark.parametrize("steps", [("int2",), ("int8", "int4", "int2")])
def test_what_is_there_is_packed_by_depth(steps: tuple[str, ...]) -> None:
    memory = told(DEEP, DEEP.new_memory(seed=1, rows="exact"))
    for kind in steps:
        memory.pack(kind)  # type: ignore[arg-type]
    assert shares(memory) == MIXED
    assert bool(logits(DEEP, memory).isfinite().all())
    told(DEEP, memory, (30,))


@pytest.mark.parametrize("layers", [None, "1-5", "2-3"])
def test_bytes_are_counted_layer_by_layer(layers: str | None) -> None:
    config = replace(SPANS, long_term_layers=layers)
    model = make_mplus(config=config, changes=SIZES)
    memory = model.new_memory(rows="int2")
    row = model.core.row_bytes("int2")
    model.write(memory, some_ids(100).tolist())
    expected = memory.short_term_rows * row.short_term + memory.long_term_rows * row.long_term
    assert memory.nbytes == expected + config.tokens_per_write * row.recent + row.common


@pytest.mark.parametrize("layers", [1, 2])
def test_few_layers_keep_as_much_each(tmp_path: Path, layers: int) -> None:
    config = replace(SPANS, retrieval=SpanRetrieval(span_rows=4, layer=0))
    model: MPlus = make_mplus(config=config, changes=SIZES | {"num_hidden_layers": layers})
    memory = told(model, model.new_memory(seed=1, rows="int2"))
    assert shares(memory) == [Share.SAME] * layers
    memory.save(tmp_path / "m")
    opened = Memory.load(tmp_path / "m", model)
    assert torch.equal(logits(model, opened), logits(model, memory))


@pytest.mark.parametrize("gone", ["store.5.v.more", "store.4.k.more", "store.0.k"])
def test_a_part_that_is_missing_is_named(tmp_path: Path, gone: str) -> None:
    path = tmp_path / "m"
    told(DEEP, DEEP.new_memory(seed=1, rows="int2")).save(path)
    with path.open("rb") as file:
        text = TensorFile(file, path).text
    tensors = {name: one for name, one in load_file(path).items() if name != gone}
    write_tensors(path, tensors, text)
    with pytest.raises(CorruptMemoryError, match=gone.replace(".", r"\.")):
        Memory.load(path, DEEP)


def test_parts_of_which_no_layer_has_more_do_not_pass_for_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "m"
    told(DEEP, DEEP.new_memory(seed=1, rows="int2")).save(path)
    with path.open("rb") as file:
        text = TensorFile(file, path).text
    tensors = {name: one for name, one in load_file(path).items() if not name.endswith(MORE)}
    write_tensors(path, tensors, text)
    with pytest.raises(CorruptMemoryError, match="has the shape"):
        Memory.load(path, DEEP)
