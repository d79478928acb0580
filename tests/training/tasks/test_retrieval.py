"""Which stored rows a training read retrieves, and which of them count as right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids

from memplus.memory.retriever import retrieval_scores
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix
from memplus.training.tasks.lanes import DroppedRows, LaneMemory
from memplus.training.tasks.protocol import Target
from memplus.training.tasks.retrieval import LaneReading, retrieval_key
from memplus.training.tasks.retriever_config import RetrieverConfig

SETTINGS = RetrieverConfig(random_query=False)


def written(model: MPlus, chunks: int, slots: int = 60) -> LaneMemory:
    """Memories of two documents."""
    shape = (2, 4, 32, CONFIG.retriever_dim)
    store = DroppedRows(slots, shape, torch.empty(0), partial(retrieval_key, model), on_cpu=True)
    memory = LaneMemory(CONFIG, shape[:3], torch.empty(0), store)
    for index in range(chunks):
        with torch.no_grad():
            rows = model.core.write_rows(some_ids(2, 10, seed=index), memory.context())
        memory.write(rows, [torch.Generator().manual_seed(2 * index + lane) for lane in range(2)])
        memory.detach_new_rows()
    return memory


def read(
    model: MPlus,
    memory: LaneMemory,
    target: Target,
    settings: RetrieverConfig = SETTINGS,
    query_tokens: int = 5,
) -> LaneReading:
    reading = LaneReading(model, memory, target, query_tokens, settings)
    prefix = HiddenPrefix(model.backbone, model.weights, reading.source, count=reading.count)
    model.core.read_rows(some_ids(2, 7, seed=50), prefix)
    return reading


def test_only_the_first_tokens_ask() -> None:
    model = make_mplus()
    memory = written(model, 9)
    assert memory.long_term is not None
    reading = read(model, memory, Target(1, 2), query_tokens=3)
    for layer, hidden in reading.asked.items():
        assert hidden.shape[1] == 3
        retriever = model.weights.layer_retriever(layer)
        access = model.backbone.layers[layer]
        for lane in range(2):
            queries = retriever.query_proj(access.norm(hidden[lane]))
            keys = memory.long_term.keys[lane, layer, : memory.long_term.filled]
            scores = retrieval_scores(queries.detach(), keys)
            best = set(scores.topk(CONFIG.retrieved_tokens).indices.tolist())
            assert set(reading.chosen[layer][lane].tolist()) == best


def test_recall_counts_right_rows_among_the_stored_ones() -> None:
    model = make_mplus()
    memory = written(model, 9)
    assert memory.long_term is not None
    reading = read(model, memory, Target(1, 3))
    found = reading.recalls()
    ids = memory.long_term.held.write_id
    for layer, chosen in reading.chosen.items():
        shares = []
        for lane in range(2):
            right = {i for i, write in enumerate(ids[lane, layer].tolist()) if 1 <= write <= 3}
            shares.append(len(right & set(chosen[lane].tolist())) / len(right))
        assert float(found[f"recall.{layer}"]) == pytest.approx(sum(shares) / 2)
        chance = CONFIG.retrieved_tokens / memory.long_term.filled
        assert float(found[f"chance.{layer}"]) == pytest.approx(chance)
    nothing = read(model, memory, Target(99, 99)).recalls()
    assert all(bool(value.isnan()) for value in nothing.values())


def test_the_loss_can_move_the_retriever_alone_or_all_that_feeds_it() -> None:
    for detach in (True, False):
        model = make_mplus()
        memory = written(model, 9)
        read(model, memory, Target(1, 2), replace(SETTINGS, detach=detach)).loss().backward()
        for name, weight in model.named_parameters():
            moved = weight.grad is not None and float(weight.grad.abs().sum()) > 0
            if "retriever" in name:
                assert moved, name
            if "layers.0.self_attn.q_proj" in name:
                assert moved == (not detach), name


def test_wrong_rows_that_were_retrieved_are_learned_from_before_others() -> None:
    model = make_mplus()
    memory = written(model, 12)
    assert memory.long_term is not None
    few = replace(SETTINGS, scored_stored=20)
    reading = read(model, memory, Target(1, 2), few)
    for layer in range(4):
        rows, right = reading._candidates(layer)
        assert rows.shape[1] == memory.count + 20
        stored = memory.long_term.held.vectors[:, layer]
        for lane in range(2):
            mine = [int((stored[lane] == row).all(dim=1).nonzero()[0]) for row in rows[lane, -20:]]
            ids = memory.long_term.held.write_id[lane, layer]
            expected = {i for i in range(len(ids)) if ids[i] <= 2}
            assert {i for i in mine if ids[i] <= 2} == expected
            assert set(reading.chosen[layer][lane].tolist()) <= set(mine)
            assert right[lane, -20:].tolist() == [bool(ids[i] <= 2) for i in mine]


def test_stored_keys_are_kept_or_worked_out_anew() -> None:
    model = make_mplus()
    memory = written(model, 9)
    before = read(model, memory, Target(1, 2)).chosen
    with torch.no_grad():
        for layer in range(4):
            for weight in model.weights.layer_retriever(layer).key_proj.parameters():
                weight.mul_(-1.0)
    kept = read(model, memory, Target(1, 2)).chosen
    fresh = read(model, memory, Target(1, 2), replace(SETTINGS, fresh_keys=True)).chosen
    assert any(not kept[layer].equal(fresh[layer]) for layer in range(4))
    assert kept[0].equal(before[0])  # of the first layer, whose input no memory changes


def test_ranking_takes_the_place_of_the_binary_loss() -> None:
    model = make_mplus()
    memory = written(model, 9)
    binary = read(model, memory, Target(1, 2)).loss()
    ranked = read(model, memory, Target(1, 2), replace(SETTINGS, loss="ranking")).loss()
    assert not ranked.allclose(binary)
    ranked.backward()
    weight = next(model.weights.layer_retriever(2).parameters())
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0
