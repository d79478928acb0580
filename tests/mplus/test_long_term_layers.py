"""Dropped rows kept in some layers only: read there, positions everywhere as if in all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import ADAPTERS, LAYERS, distance, make_mplus, some_ids
from tests.mplus.test_writer import assert_equal, contents
from tests.passes.test_span_queries import SPANS, TOLERANCE, written

from memplus import Memory, MPlus
from memplus.backbone.attention import Segment
from memplus.config import MemoryConfig, SpanRetrieval
from memplus.errors import ConfigError
from memplus.memory.packing import ROWS, RowKind
from memplus.passes.read import HiddenPrefix
from memplus.sessions.inspection import bytes_per_token
from memplus.sessions.inspection import contents as inspected
from memplus.store import MemoryStore
from memplus.store.limits import Limits

SOME = replace(SPANS, long_term_layers="1-2")
SINGLE = replace(SOME, retrieval=MemoryConfig().retrieval)
"""The paper's rule, in these layers."""
SMALL = Limits(log=30_000, segment=30_000, snapshots=0)


class Gapped(HiddenPrefix):
    """Rows of all layers, retrieved ones after bos, of which some layers see the others only."""

    retrieved = 0
    stored = range(0)

    def prepare(self, layer: int, hidden: torch.Tensor, length: int) -> None:
        super().prepare(layer, hidden, length)
        if layer not in self.stored:
            (segment,) = self.segments[layer]
            start = int(self.bos is not None)
            keys, values = (
                torch.cat([one[:, :, :start], one[:, :, start + self.retrieved :]], dim=2)
                for one in segment[:2]
            )
            self.segments[layer] = [Segment(keys, values)]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("layers", ["1-2", "3-3", "0-0", "0-3"])
@torch.no_grad()
def test_other_layers_see_short_term_rows_at_their_places(name: str, layers: str) -> None:
    model, memory, slow = written(name, replace(SPANS, long_term_layers=layers))
    ids = some_ids(6, seed=90)
    rows = torch.cat([span.hidden for span in [*slow.chosen(ids), *slow.short]], dim=1)
    prefix = Gapped(model.backbone, model.weights, rows[None])
    prefix.retrieved = SPANS.retrieved_tokens
    prefix.stored = model.memory_config.stored_layers(LAYERS)
    expected = model.core.logits(model.core.read_rows(ids[None], prefix))[0]
    found = model(ids, memory=memory).logits
    assert distance(found, expected) <= TOLERANCE
    everywhere = slow.logits(ids)
    assert (distance(found, everywhere) <= TOLERANCE) == (layers == "0-3")


@torch.no_grad()
def test_scores_weigh_the_rows_of_layers_that_keep_them_alone() -> None:
    way = SpanRetrieval(span_rows=4, layer=2, weighs=True)
    model = make_mplus(config=replace(SOME, retrieval=way))
    memory = model.new_memory(seed=1)
    for number in range(4):
        model.write(memory, some_ids(29, seed=number).tolist())
    prefix = model.asker.reader.prefill(some_ids(6, seed=90)[None], memory)
    for layer in range(LAYERS):
        segments = prefix.groups(layer)[0][1]
        widths = [None if one.bias is None else one.bias.shape[1] for one in segments]
        stored = layer in (1, 2)
        assert [one.key.shape[2] for one in segments] == [9 if stored else 1, 24]
        assert widths == [9 if stored else None, 24]
    assert bool(logits(model, memory).isfinite().all())


@pytest.mark.parametrize("config", [SOME, SINGLE], ids=["spans", "rows"])
@pytest.mark.parametrize("rows", ROWS)
def test_a_memory_of_some_layers_is_kept_forked_and_forgotten(
    tmp_path: Path, config: MemoryConfig, rows: RowKind
) -> None:
    model = make_mplus(config=config)
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    stored, plain = store.create("alice", model, seed=3, rows=rows), model.new_memory(seed=3)
    if rows != "exact":
        plain.pack(rows)
    for turn in range(4):
        for memory in (stored, plain):
            for number, tokens in enumerate((29, 2, 17)):
                ids = some_ids(tokens, seed=number).tolist()
                model.write(memory, ids, source=f"text {number}")
        if turn == 2:
            stored.close()
            stored = store.open("alice", model, write=True)
        assert_equal(contents(stored), contents(plain))
        assert torch.equal(logits(model, stored), logits(model, plain))
    plain.save(tmp_path / "m")
    assert_equal(contents(Memory.load(tmp_path / "m", model)), contents(plain))
    for memory in (stored, plain):
        memory.forget(source="text 1")
    assert torch.equal(logits(model, stored), logits(model, plain))
    assert_equal(contents(stored.fork()), contents(plain))
    stored.close()
    store.verify("alice")
    store.export("alice", tmp_path / "alice.zip")
    store.import_memory(tmp_path / "alice.zip", name="bob")
    with store.open("bob", model) as bob:
        assert torch.equal(logits(model, bob), logits(model, plain))
        assert inspected(bob).sources == inspected(plain).sources
    assert plain.long_term is not None
    assert [bool(set(t.names) & {"k", "hidden"}) for t in plain.long_term.tables] == [
        False, True, True, False,
    ]  # fmt: skip
    assert bytes_per_token(model, rows) < bytes_per_token(
        make_mplus(config=replace(config, long_term_layers=None)), rows
    )
    assert model.retrieve(plain, "What is it?")


@pytest.mark.parametrize("config", [SOME, SINGLE], ids=["spans", "rows"])
def test_a_memory_of_some_layers_is_asked_and_says_what_its_answers_stand_on(
    config: MemoryConfig,
) -> None:
    model = make_mplus(config=config)
    memory = model.new_memory(seed=3)
    for number in range(4):
        model.write(memory, some_ids(29, seed=number).tolist(), source=f"text {number}")
    alone = model.ask(memory, "What is it?")
    together = model.ask(memory, ["What is it?", "And where?"])
    assert alone.text == together[0].text
    assert len({one.source for one in alone.evidence}) > 1
    for one in (alone, *together):
        assert 0 < one.confidence <= 1


@torch.no_grad()
def logits(model: MPlus, memory: Memory) -> torch.Tensor:
    found: torch.Tensor = model(some_ids(6, seed=90), memory=memory).logits
    return found


def test_a_model_with_some_layers_is_saved_and_opened(tmp_path: Path) -> None:
    model = make_mplus(config=replace(SINGLE, adapters=ADAPTERS))
    model.save_pretrained(tmp_path / "model")
    again = MPlus.from_pretrained(tmp_path / "model")
    assert again.memory_config == model.memory_config
    assert list(again.weights.retrieving) == [1, 2]


def test_layers_beyond_the_model_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="long_term_layers"):
        make_mplus(config=replace(SPANS, long_term_layers="2-4"))
