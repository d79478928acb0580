"""Gates in a tiny decoder against their formulas, and what they do at their ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import some_ids
from tests.systems.memlong.slow import FAMILIES, OPTIONS, tiny
from tests.systems.memlong.test_mechanism import close, told

from memplus.backbone.attention import AttentionCall, Segment
from memplus.systems.memlong.gates import Gating, text_bias
from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.memlong.state import MemLongState


class Config:
    _attn_implementation = "sdpa"


class Module:
    config = Config()
    layer_idx = 0


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def a_call() -> tuple[AttentionCall, Segment]:
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    parts = random(2, 4, 5, 6, seed=1), random(2, 2, 5, 6, seed=2), random(2, 2, 5, 6, seed=3)
    bias = torch.tensor([[0.0, 0, 0], [0, 0, -1e30]])
    rows = Segment(random(2, 2, 3, 6, seed=4), random(2, 2, 3, 6, seed=5), bias)
    return AttentionCall(Module(), *parts, causal, {}), rows


@pytest.mark.parametrize("on_scores", [True, False])
def test_a_gate_is_its_formula(*, on_scores: bool) -> None:
    call, rows = a_call()
    weight = torch.tensor([-1.0, 0.0, 0.5, 3.0])
    found = Gating(weight, on_scores).attend(call, rows)
    for row, head, token in ((0, 0, 0), (1, 3, 4), (1, 1, 2)):
        seen = 3 if row == 0 else 2
        query = call.query[row, head, token] * 6**-0.5
        memory, text = (one[row, head // 2] for one in (rows.key, call.key))
        values = rows.value[row, head // 2, :seen], call.value[row, head // 2, : token + 1]
        share = torch.sigmoid(weight[head])
        scores = memory[:seen] @ query, text[: token + 1] @ query
        if on_scores:
            both = torch.cat([scores[0] * share, scores[1] * (1 - share)]).softmax(dim=0)
            expected = both @ torch.cat(values)
        else:
            parts = [one.softmax(dim=0) @ value for one, value in zip(scores, values, strict=True)]
            expected = share * parts[0] + (1 - share) * parts[1]
        assert close(found[row, token, head], expected)


def test_the_texts_mask_is_added_whatever_it_is_made_of() -> None:
    call, _ = a_call()
    bias = text_bias(call)
    assert bias is not None
    assert bias[0, 0, 1, 2] < -1e30
    assert bias[0, 0, 2, 1] == 0
    assert text_bias(replace(call, mask=None)) is None
    added = replace(call, mask=torch.full((1, 1, 5, 5), -2.0, dtype=torch.float16))
    assert text_bias(added).equal(torch.full((1, 1, 5, 5), -2.0))  # type: ignore[union-attr]


def gated(name: str, gate: Any, weight: float) -> MemLong:
    mechanism = tiny(name, replace(OPTIONS, gate=gate))
    with torch.no_grad():
        for one in mechanism.gates.values():
            one.fill_(weight)
    return mechanism


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_closed_gate_on_outputs_is_the_decoder_alone(name: str) -> None:
    mechanism, ids = gated(name, "outputs", -40.0), some_ids(1, 9, seed=3)
    state = told(mechanism)
    assert close(mechanism.read(state, ids), mechanism.read(mechanism.empty(1), ids))
    opened = gated(name, "outputs", 0.0)
    assert not close(opened.read(state, ids), mechanism.read(state, ids), 1e-2)


@pytest.mark.parametrize("gate", ["scores", "outputs"])
def test_gates_are_trained_in_every_retrieval_layer(gate: Any) -> None:
    mechanism = gated("llama", gate, 0.0)
    hidden, _ = mechanism.read_and_write(told(mechanism), some_ids(1, 8, seed=3))
    hidden.square().sum().backward()
    assert list(mechanism.gates) == ["1", "3"]
    assert all(one.grad is not None and bool(one.grad.any()) for one in mechanism.gates.values())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gate", ["none", "scores", "outputs"])
@pytest.mark.parametrize("positions", ["zero", "continual"])
@torch.no_grad()
def test_a_row_with_nothing_to_read_beside_one_that_reads_is_read_as_alone(
    name: str, gate: Any, positions: Any
) -> None:
    mechanism = tiny(name, replace(OPTIONS, gate=gate, positions=positions))
    for one in mechanism.gates.values():
        one.fill_(0.7)
    full, ids = told(mechanism), some_ids(2, 9, seed=3)
    state = MemLongState((*mechanism.empty(1).banks, *full.banks))
    both, begun = mechanism.read(state, ids), mechanism.begin(state, ids)
    rows = mechanism.read(mechanism.empty(1), ids[:1])[0], mechanism.read(full, ids[1:])[0]
    for row, alone in enumerate(rows):
        assert close(both[row], alone)
        assert close(begun.hidden[row], alone[-1])
    assert not begun.shares[0]
    assert sum(one.share for one in begun.shares[1]) == pytest.approx(1)


@torch.no_grad()
def test_without_anything_to_read_no_gate_acts() -> None:
    mechanism, ids = gated("llama", "scores", 1.0), some_ids(1, 9, seed=3)
    other = tiny()
    assert close(mechanism.read(mechanism.empty(1), ids), other.read(other.empty(1), ids))
