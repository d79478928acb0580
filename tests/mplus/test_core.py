"""What reading and writing stand on: sizes, owners, ids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids

from memplus import Memory, MPlus
from memplus.config import ROWS, CounterEviction, RowKind
from memplus.errors import (
    ConfigError,
    MemoryMismatchError,
    PositionsError,
    TokenizerMissingError,
    UsageError,
)
from memplus.memory.two_bits import directions_kept
from memplus.store import MemoryStore


def test_a_memory_is_its_own_models_and_nobody_elses() -> None:
    model, other = make_mplus(), make_mplus(seed=7)
    memory = model.new_memory()
    model.core.check_owner(memory)
    with pytest.raises(MemoryMismatchError):
        other.core.check_owner(memory)
    # Equal weights are the same model.
    make_mplus().core.check_owner(memory)


def test_a_memory_of_other_sizes_is_refused_by_the_config() -> None:
    small = make_mplus(config=replace(CONFIG, short_term_tokens=18))
    with pytest.raises(MemoryMismatchError, match="short_term_tokens differ"):
        small.core.check_owner(make_mplus().new_memory())


@pytest.mark.parametrize("rows", ["int8", "int4", "int2"])
def test_new_memories_keep_rows_as_the_config_says(tmp_path: Path, rows: RowKind) -> None:
    model, narrow = make_mplus(), make_mplus(config=replace(CONFIG, rows=rows))
    default, said, wide = (
        narrow.new_memory(1),
        model.new_memory(1, rows=rows),
        narrow.new_memory(1, rows="exact"),
    )
    for memory in (default, said, wide):
        narrow.write(memory, some_ids(200), flush=True)
    assert (default.rows, said.rows, wide.rows) == (rows, rows, "exact")
    assert narrow.core.row_bytes() == model.core.row_bytes(rows)
    assert default.nbytes == said.nbytes < wide.nbytes
    ids = some_ids(7)
    assert torch.equal(narrow(ids, memory=default).logits, narrow(ids, memory=said).logits)
    # A model is the same whatever its new memories are.
    assert narrow.fingerprint == model.fingerprint
    for memory in (default, wide):
        memory.save(tmp_path / "file")
        for reader in (model, narrow):
            assert Memory.load(tmp_path / "file", reader).rows == memory.rows
        (tmp_path / "file").unlink()
    model.save_pretrained(tmp_path / "model")
    narrow.save_pretrained(tmp_path / "narrow")
    assert "rows" not in json.loads((tmp_path / "model" / "memplus.json").read_text())["memory"]
    assert MPlus.from_pretrained(tmp_path / "narrow").new_memory().rows == rows


def test_a_way_to_keep_rows_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="exact, int8, int4 or int2"):
        make_mplus().new_memory(rows="int1")  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [[-1], [3, 10**6]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(UsageError, match=r"0\.\."):
        make_mplus().core.check_ids(ids)


def test_a_chunk_must_leave_room_for_the_newest_rows() -> None:
    core = make_mplus(changes={"max_position_embeddings": 64}).core
    core.check_chunk(64 - 1 - CONFIG.tokens_per_write)
    with pytest.raises(PositionsError):
        core.check_chunk(64 - CONFIG.tokens_per_write)


def test_a_memory_larger_than_the_positions_is_refused_when_the_model_is_made() -> None:
    with pytest.raises(PositionsError):
        make_mplus(config=replace(CONFIG, short_term_tokens=10_000))


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
@pytest.mark.parametrize("rule", [CONFIG.eviction, CounterEviction(every=1, initial=9.0)])
@pytest.mark.parametrize("kind", ROWS)
def test_row_bytes_are_those_that_rows_take(name: str, rule: object, kind: RowKind) -> None:
    model = make_mplus(name, replace(CONFIG, eviction=rule))
    memory = model.new_memory(rows=kind)
    row = model.core.row_bytes(kind)
    model.write(memory, some_ids(100).tolist())
    expected = memory.short_term_rows * row.short_term + memory.long_term_rows * row.long_term
    expected += CONFIG.tokens_per_write * row.recent + row.common
    assert memory.nbytes == expected
    assert (row.common > 0) == (kind != "exact")


def test_keys_in_2_bits_count_the_directions_that_a_layer_keeps() -> None:
    """Of a hidden size of 64 in 4 heads: 16 numbers of a key along 14 directions."""
    model = make_mplus(config=CONFIG)
    heads, width = model.core.backbone.kv_heads, model.core.backbone.head_dim
    layers = len(model.core.backbone.layers)
    narrow, wide = (model.core.row_bytes(kind).common for kind in ("int4", "int2"))
    assert wide - narrow == 4 * layers * heads * width * directions_kept(width)


def test_text_without_a_tokenizer_is_an_error_and_ids_are_not() -> None:
    made = make_mplus()
    model = MPlus(made.model, CONFIG, made.weights)
    with pytest.raises(TokenizerMissingError):
        model.encode("text")
    assert model.decode([1, 2]) == ""
    memory = model.new_memory()
    model.write(memory, some_ids(12).tolist())
    assert memory.tokens == 10


def test_a_bundled_model_cast_in_part_is_refused_by_name_at_every_door(tmp_path: Path) -> None:
    model = MPlus.from_pretrained("nano")
    store = MemoryStore(tmp_path / "store")
    store.create("a", model).close()
    model.new_memory().save(tmp_path / "a.memory")
    model.model.to(torch.bfloat16)
    for act in (
        lambda: model.new_memory(),
        lambda: Memory.load(tmp_path / "a.memory", model),
        lambda: store.create("b", model),
        lambda: store.open("a", model),
    ):
        with pytest.raises((UsageError, MemoryMismatchError), match=r"bfloat16|differ"):
            act()
    assert "b" not in store
    model.to(torch.bfloat16)
    assert model.ask(model.new_memory(), "Where?").text


@pytest.mark.parametrize(
    "wrong",
    [{"seed": "x"}, {"seed": 1 << 70}, {"seed": 0.5}, {"max_bytes": "x"}, {"max_bytes": -1}],
)
def test_numbers_of_a_memory_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        make_mplus().new_memory(**wrong)
