"""Memories of spans: written, forked, kept, opened, forgotten, in batches and in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import ADAPTERS, LAYERS, distance, make_model, make_mplus, padded, some_ids
from tests.memory.account import bits
from tests.mplus.test_writer import assert_equal, contents
from tests.passes.test_span_queries import SPANS, TOLERANCE

from memplus import Memory, MPlus
from memplus.config import (
    CounterEviction,
    MemoryConfig,
    OldestEviction,
    RowRetrieval,
    SpanRetrieval,
)
from memplus.errors import ConfigError, CorruptMemoryError, MemoryMismatchError, UsageError
from memplus.memory import format as file_format
from memplus.memory.packing import ROWS, RowKind, leading_of
from memplus.mplus.doctor import examine
from memplus.mplus.evidence import Seen
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.write import write_pass
from memplus.sessions.inspection import bytes_per_token
from memplus.store import MemoryStore
from memplus.store.limits import Limits

SIZE = SPANS.span_rows
BOOKED = "store.2."
"""Of the layer that retrieves."""
SMALL = Limits(log=30_000, segment=30_000, snapshots=0)
PROMPT = some_ids(6, seed=90)


def told(model: MPlus, memory: Memory, lengths: tuple[int, ...] = (61, 3, 25, 1, 40)) -> Memory:
    """Texts of several sources, whose tails become short chunks."""
    for number, tokens in enumerate(lengths):
        model.write(memory, some_ids(tokens, seed=number).tolist(), source=f"text {number}")
    return memory


def logits(model: MPlus, memory: Memory) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(PROMPT, memory=memory).logits
    return found


def assert_spans(memory: Memory) -> None:
    """Every row stands in a whole span of one write, the same in every layer."""
    size = memory.config.span_rows
    for birth, write_id in rows_by_place(memory):
        assert birth.shape[1] % size == 0
        assert torch.equal(birth, birth[:1].expand_as(birth))
        assert torch.equal(write_id, write_id[:1].expand_as(write_id))
        spans = birth[0].view(-1, size)
        assert torch.equal(spans, spans[:, :1] + torch.arange(size))
        ids = write_id[0].view(-1, size)
        assert torch.equal(ids, ids[:, :1].expand_as(ids))


def rows_by_place(memory: Memory) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Birth and write id [L, n] of the pool, by position, and of the long-term memory."""
    found = []
    if memory.pool is not None:
        order = memory.pool.slot_order()[:, : memory.pool.count]
        found.append((memory.pool.birth.gather(1, order), memory.pool.write_id.gather(1, order)))
    if memory.long_term is not None:
        tables = [memory.long_term.books(layer) for layer in memory.long_term.layout.stored]
        columns = [torch.stack([t[name] for t in tables]) for name in ("birth", "write_id")]
        found.append((columns[0], columns[1]))
    return found


ONE = make_mplus(config=SPANS)
WIDE = make_mplus(config=SPANS, changes={"num_key_value_heads": 1, "head_dim": 16})
"""Wide enough heads for 2 bits to keep their keys by directions of their own."""


def test_a_write_leaves_spans_for_its_share_of_a_chunk() -> None:
    config = replace(SPANS, chunk_tokens=16, tokens_per_write=8)
    found = {tokens: config.rows_of_write(tokens) for tokens in (1, 8, 9, 15, 16, 30)}
    assert found == {1: 4, 8: 4, 9: 8, 15: 8, 16: 8, 30: 8}
    assert replace(config, retrieval=MemoryConfig().retrieval).rows_of_write(1) == 8
    model = make_mplus(config=config)
    memory = model.new_memory()
    for tokens, rows in ((3, 4), (16, 12), (9, 20), (1, 24)):
        model.write(memory, some_ids(tokens).tolist(), flush=True)
        assert memory.short_term_rows == rows
        assert memory.clock == rows
    assert_spans(memory)


def test_a_short_text_is_repeated_in_its_span() -> None:
    short = some_ids(3)
    alone = ONE.compress(None, short)
    assert alone.shape == (LAYERS, SIZE, 32)
    assert torch.equal(alone[:, 0], alone[:, 1])
    assert not torch.equal(alone[:, 1], alone[:, 2])
    memory = told(ONE, ONE.new_memory(), (8,))
    after = ONE.compress(memory, short)
    assert after.shape == alone.shape
    assert torch.equal(after[:, 0], after[:, 1])
    assert not torch.equal(after, alone)


@pytest.mark.parametrize("long_first", [False, True])
def test_no_row_of_a_later_write_holds_the_text_of_an_earlier_one(long_first: bool) -> None:
    """What is written last attends to it, and each of its rows is one that its own tokens make."""
    memory = told(ONE, ONE.new_memory(), (8,) if long_first else ())
    ids = some_ids(1, 3)
    with torch.no_grad():
        later = ONE.compress(memory, ids)
        own = write_pass(ONE.backbone, ONE.weights, ids, ONE.core.context([memory]), 3).rows[0]
    for layer, rows in zip(later, own, strict=True):
        assert {bits(row) for row in layer} == {bits(row) for row in rows}
    assert len({bits(row) for row in later[0]}) == 3


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(lengths=LENGTHS, flushed=st.booleans(), forgotten=st.sets(st.integers(0, 7), max_size=3))
def test_rows_are_whole_spans_whatever_is_written_and_forgotten(
    lengths: list[int], flushed: bool, forgotten: set[int]
) -> None:
    memory = ONE.new_memory(seed=len(lengths))
    for number, tokens in enumerate(lengths):
        ids = some_ids(tokens, seed=number).tolist()
        ONE.write(memory, ids, source=f"text {number}", flush=flushed)
        assert_spans(memory)
    for number in forgotten:
        if any(one.source == f"text {number}" for one in memory.writes):
            memory.forget(source=f"text {number}")
            assert_spans(memory)
    ONE.write(memory, some_ids(17).tolist(), source="later")
    assert_spans(memory)
    assert bool(logits(ONE, memory).isfinite().all())


@pytest.mark.parametrize("rule", [OldestEviction(max_rows=10), CounterEviction(2, 3.0)])
def test_eviction_takes_whole_spans(rule: OldestEviction | CounterEviction) -> None:
    model = make_mplus(config=replace(SPANS, eviction=rule))
    memory = model.new_memory()
    for number in range(20):
        told(model, memory, (9, 2 + number % 3))
        assert_spans(memory)
    assert memory.long_term_rows < 200
    if isinstance(rule, OldestEviction):
        assert memory.long_term_rows == 8
    assert bool(logits(model, memory).isfinite().all())


def test_a_memory_that_cannot_hold_a_span_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_rows"):
        replace(SPANS, eviction=OldestEviction(max_rows=3))


def test_a_layer_that_the_model_has_not_is_refused() -> None:
    config = replace(SPANS, retrieval=SpanRetrieval(span_rows=4, layer=LAYERS))
    with pytest.raises(ConfigError, match=r"retrieval\.layer"):
        make_mplus(config=config)


def test_what_is_dropped_by_hand_is_whole_spans() -> None:
    memory = told(ONE, ONE.new_memory(), (24,))
    with pytest.raises(UsageError, match="whole spans"):
        ONE.write_chunk(memory, some_ids(4), torch.tensor([[1, 2, 3, 4]]))
    ONE.write_chunk(memory, some_ids(4), torch.tensor([[7, 5, 6, 4]]))
    assert_spans(memory)


def test_keys_are_kept_of_one_layer() -> None:
    memory = told(ONE, ONE.new_memory())
    assert memory.pool is not None
    assert memory.long_term is not None
    assert memory.pool.columns["key"].shape == (1, 24, 8)
    keyed = ["key" in table.names for table in memory.long_term.tables]
    assert keyed == [False, False, True, False]
    row = ONE.core.row_bytes()
    assert memory.long_term.nbytes == row.long_term * memory.long_term_rows
    assert memory.pool.nbytes - memory.pool.recent.nbytes == row.short_term * 24


def test_all_layers_read_the_same_rows_oldest_span_first() -> None:
    memory = told(ONE, ONE.new_memory(seed=3))
    ids = PROMPT[None]
    prefix = ONE.asker.reader.prefill(ids, memory)
    rows = prefix.retrieved[0, 0]
    assert all(torch.equal(prefix.retrieved[0, layer], rows) for layer in range(LAYERS))
    assert memory.long_term is not None
    births = memory.long_term.books(0).take("birth", rows)
    assert torch.equal(births.sort().values, births)
    assert len(rows) == SPANS.retrieved_tokens
    scores = prefix.scores[0, 2]
    assert len(scores) == memory.long_term_rows
    assert scores[rows].min() == scores.topk(len(rows)).values.min()


def test_a_batch_reads_as_each_of_it_alone() -> None:
    memories = [told(ONE, ONE.new_memory(seed=n), (40 + 9 * n, 3)) for n in range(3)]
    memories = [memories[0], memories[0], memories[2], ONE.new_memory(), memories[1]]
    prompts = [some_ids(n, seed=n) for n in (5, 1, 9, 4, 7)]
    ids, mask = padded(prompts)
    with torch.no_grad():
        together = ONE(ids, memory=memories, attention_mask=mask).logits
        for row, (memory, prompt) in enumerate(zip(memories, prompts, strict=True)):
            alone = ONE(prompt, memory=memory).logits[0]
            assert distance(together[row, -len(prompt) :], alone) <= TOLERANCE


def test_a_tail_does_not_retrieve_and_beams_share_what_is_retrieved() -> None:
    memory = told(ONE, ONE.new_memory(seed=3))
    without = memory.fork()
    without.tail.clear()
    assert memory.tail == []
    ONE.write(memory, some_ids(3, seed=70).tolist(), source="text 4")
    assert len(memory.tail) == 3
    found = [
        ONE.asker.reader.prefill(PROMPT[None], one).retrieved[0, 1] for one in (memory, without)
    ]
    assert torch.equal(*found)
    beams = ONE.generate(PROMPT, memory=memory, num_beams=3, max_new_tokens=4)
    assert beams.shape == (1, 10)


def test_the_last_tokens_of_a_prompt_alone_ask_where_that_is_asked_for() -> None:
    memory = told(ONE, ONE.new_memory())
    before, last = some_ids(30, seed=91), some_ids(6, seed=92)

    def scores(ids: torch.Tensor, **options: int) -> torch.Tensor:
        seen = Seen()
        ONE.asker.reader.generate(ids, memory, None, {"max_new_tokens": 1, **options}, seen)
        assert isinstance(seen.prefix, MemoryPrefix)
        found = seen.prefix.span_rows(0)
        assert found is not None
        return found[1]

    whole = torch.cat([before, last], dim=-1)
    alone = scores(last)
    assert torch.allclose(scores(whole, asking_tokens=6), alone, atol=1e-6)
    assert not torch.allclose(scores(whole), alone, atol=1e-3)
    assert torch.equal(scores(whole, asking_tokens=1000), scores(whole))


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_what_is_no_number_of_tokens_that_ask_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="asking_tokens"):
        ONE.generate(PROMPT, memory=ONE.new_memory(), max_new_tokens=1, asking_tokens=count)


def test_embeddings_ask_as_their_ids_do() -> None:
    memory = told(ONE, ONE.new_memory(seed=3))
    embeds = ONE.backbone.embedding(PROMPT[None])
    with torch.no_grad():
        given = ONE(memory=memory, inputs_embeds=embeds).logits
    assert torch.equal(given, logits(ONE, memory))


def test_a_fork_goes_its_own_way() -> None:
    memory = told(ONE, ONE.new_memory(seed=1))
    before, kept = logits(ONE, memory), contents(memory)
    fork = memory.fork()
    told(ONE, fork, (50, 7))
    assert_spans(fork)
    assert_equal(contents(memory), kept)
    assert torch.equal(logits(ONE, memory), before)


@pytest.mark.parametrize(
    ("rows", "most"), [("exact", 0), ("int8", 0.05), ("int4", 1.0), ("int2", 4.0)]
)
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_saved_memory_is_the_same_when_it_is_opened(
    tmp_path: Path, name: str, rows: RowKind, most: float
) -> None:
    model = WIDE if rows == "int2" else make_mplus(name, SPANS)
    memory = model.new_memory(seed=1)
    if rows != "exact":
        memory.pack(rows)
    told(model, memory)
    exact = told(model, model.new_memory(seed=1))
    assert (memory.nbytes < exact.nbytes) == (rows != "exact")
    memory.save(tmp_path / "m")
    opened = Memory.load(tmp_path / "m", model)
    assert_equal(contents(opened), contents(memory))
    assert torch.equal(logits(model, opened), logits(model, memory))
    assert distance(logits(model, opened), logits(model, exact)) <= most
    told(model, opened, (30, 2))
    assert_spans(opened)


@pytest.mark.parametrize(("model", "rows"), [*((ONE, rows) for rows in ROWS), (WIDE, "int2")])
def test_a_stored_memory_reads_and_writes_like_a_plain_one(
    tmp_path: Path, model: MPlus, rows: RowKind
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    stored, plain = store.create("alice", model, seed=3, rows=rows), model.new_memory(seed=3)
    if rows != "exact":
        plain.pack(rows)
    for turn in range(5):
        for memory in (stored, plain):
            told(model, memory, (29, 2, 17))
        if turn == 2:
            stored.close()
            stored = store.open("alice", model, write=True)
        assert_equal(contents(stored), contents(plain))
        assert torch.equal(logits(model, stored), logits(model, plain))
    assert stored.keeper.manifest.segments
    assert plain.long_term is not None
    kept = leading_of("k") in plain.long_term.tables[0].centres
    assert kept == (rows == "int2" and model is WIDE)
    for memory in (stored, plain):
        memory.forget(source="text 1")
        assert_spans(memory)
    assert torch.equal(logits(model, stored), logits(model, plain))
    stored.close()
    assert store.verify("alice")
    store.export("alice", tmp_path / "alice.zip")
    store.import_memory(tmp_path / "alice.zip", name="bob")
    with store.open("bob", model) as bob:
        assert torch.equal(logits(model, bob), logits(model, plain))


def test_without_a_long_term_memory_whole_spans_are_dropped(tmp_path: Path) -> None:
    """MemoryLLM."""
    model = make_mplus(config=replace(SPANS, retrieved_tokens=0))
    memory = told(model, model.new_memory())
    assert model.weights.retriever is None
    assert memory.long_term is None
    assert memory.short_term_rows == 24
    assert_spans(memory)
    assert bool(logits(model, memory).isfinite().all())
    half = told(ONE, ONE.new_memory()).short_term_only()
    told(ONE, half, (20,))
    assert_spans(half)
    # Its pool still has the keys of the layer that would retrieve.
    half.save(tmp_path / "half")
    assert torch.equal(logits(ONE, Memory.load(tmp_path / "half", ONE)), logits(ONE, half))


def test_a_model_is_saved_with_the_retriever_of_one_layer(tmp_path: Path) -> None:
    config = replace(SPANS, adapters=ADAPTERS)
    model = make_mplus(config=config)
    model.save_pretrained(tmp_path / "model")
    again = MPlus.from_pretrained(tmp_path / "model")
    assert again.memory_config == config
    assert {n for n, _ in again.weights.named_parameters() if "key_proj" in n} == {
        "retriever.0.key_proj.0.weight",
        "retriever.0.key_proj.2.weight",
    }
    one, other = told(model, model.new_memory()), told(again, again.new_memory())
    assert torch.equal(logits(model, one), logits(again, other))
    one.save(tmp_path / "m")
    assert torch.equal(logits(again, Memory.load(tmp_path / "m", again)), logits(model, one))
    made = MPlus.from_backbone(make_model("qwen2"), config)
    assert bool(logits(made, told(made, made.new_memory())).isfinite().all())


def _half(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if name.startswith("store."):
            tensors[name] = tensor[:-1]


def _everywhere(tensors: dict[str, torch.Tensor]) -> None:
    """As releases before kept it: birth and write id in every layer."""
    for name in ("birth", "write_id"):
        tensors |= {f"store.{at}.{name}": tensors[BOOKED + name].clone() for at in range(LAYERS)}


def _apart(tensors: dict[str, torch.Tensor]) -> None:
    _everywhere(tensors)
    tensors["store.1.birth"] = tensors["store.1.birth"].roll(4)


def _fewer(tensors: dict[str, torch.Tensor]) -> None:
    for name in ("k", "v", "hidden"):
        if f"store.0.{name}" in tensors:
            tensors[f"store.0.{name}"] = tensors[f"store.0.{name}"][: -SPANS.span_rows]


def _divided(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{BOOKED}write_id"] = tensors[f"{BOOKED}write_id"].roll(1)


def _shuffled(tensors: dict[str, torch.Tensor]) -> None:
    tensors["pool.position"] = tensors["pool.position"].roll(1, dims=1)


def _uneven(tensors: dict[str, torch.Tensor]) -> None:
    tensors["pool.position"][1] = tensors["pool.position"][1].flip(0)


@pytest.mark.parametrize("change", [_half, _apart, _fewer, _divided, _shuffled, _uneven])
def test_files_whose_rows_are_no_spans_are_refused(
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_changed(told(ONE, ONE.new_memory()), tmp_path / "m", change, monkeypatch)
    with pytest.raises(CorruptMemoryError, match=r"span|not as many"):
        Memory.load(tmp_path / "m", ONE)


def save_changed(
    memory: Memory,
    path: Path,
    change: Callable[[dict[str, torch.Tensor]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Save with other tensors."""
    before = file_format._tensors

    def forged(memory: Memory) -> dict[str, torch.Tensor]:
        tensors = before(memory)
        change(tensors)
        return tensors

    with monkeypatch.context() as patch:
        patch.setattr(file_format, "_tensors", forged)
        memory.save(path)


def test_what_tells_of_spans_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = told(ONE, ONE.new_memory(seed=1))
    assert memory.long_term is not None
    booked = [at for at, table in enumerate(memory.long_term.tables) if "birth" in table.names]
    assert booked == list(ONE.weights.retrieving)
    save_changed(memory, tmp_path / "old", _everywhere, monkeypatch)
    memory.save(tmp_path / "new")
    old, new = (Memory.load(tmp_path / name, ONE) for name in ("old", "new"))
    assert_equal(contents(old), contents(memory))
    assert_equal(contents(new), contents(memory))
    assert old.nbytes == new.nbytes == memory.nbytes
    assert (tmp_path / "new").stat().st_size < (tmp_path / "old").stat().st_size


def test_sizes_and_the_self_test_know_spans() -> None:
    row = ONE.core.row_bytes()
    assert bytes_per_token(ONE) == row.long_term
    assert bytes_per_token(ONE, "int2") < bytes_per_token(ONE, "int4")
    assert bytes_per_token(ONE, "int4") < bytes_per_token(ONE, "int8") < row.long_term
    assert all(check.ok for check in examine(ONE))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_in_bfloat16_a_read_is_close_to_that_in_float32(name: str) -> None:
    exact, half = (make_mplus(name, SPANS, dtype=d) for d in (torch.float32, torch.bfloat16))
    memories = [told(one, one.new_memory(seed=1)) for one in (exact, half.to(torch.bfloat16))]
    memories[0].long_term = memories[1].long_term = None  # which spans are found may differ
    found = [logits(one, memory).float() for one, memory in zip((exact, half), memories)]
    assert distance(*found) <= 0.35
    again = told(half, half.new_memory(seed=1))
    assert bool(logits(half, again).isfinite().all())


def test_a_memory_of_rows_is_named_as_another_where_spans_are_retrieved(tmp_path: Path) -> None:
    """Either way round: the model says what differs, whatever config leaves out."""
    rows = make_mplus(config=replace(SPANS, retrieval=RowRetrieval()))
    for mine, theirs in ((ONE, rows), (rows, ONE)):
        told(theirs, theirs.new_memory()).save(tmp_path / "m")
        with pytest.raises(MemoryMismatchError, match="retrieval"):
            Memory.load(tmp_path / "m", mine)
        store = MemoryStore(tmp_path / f"s {mine is ONE}")
        store.create("alice", theirs).close()
        with pytest.raises(MemoryMismatchError, match="retrieval"):
            store.open("alice", mine)
