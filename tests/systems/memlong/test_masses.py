from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import some_ids
from tests.systems.memlong.slow import OPTIONS, tiny, trained
from tests.systems.memlong.test_gates import a_call
from tests.systems.memlong.test_mechanism import told

from memplus.backbone.attention import AttentionCall, Segment
from memplus.systems.memlong.gates import Gating
from memplus.systems.memlong.lookup import Found
from memplus.systems.memlong.masses import Masses


def found_for(segment: Segment) -> Found:
    owners = torch.tensor([[0, 0, 1], [0, 1, 0]])
    there = torch.tensor([[True, True, True], [True, True, False]])
    return Found([[5, 2], [2, 3]], segment.key, segment.value, there, owners)


def expected(call: AttentionCall, segment: Segment) -> torch.Tensor:
    """[B, P]: masses of the last token, head by head."""
    sums = torch.zeros(2, 3)
    for row in range(2):
        for head in range(4):
            query = call.query[row, head, -1] * 6**-0.5
            keys = torch.cat([segment.key[row, head // 2], call.key[row, head // 2]])
            scores = keys @ query
            assert segment.bias is not None
            scores[:3] += segment.bias[row]
            sums[row] += scores.softmax(dim=0)[:3]
    return sums


def test_masses_are_those_of_one_softmax_over_memory_and_text() -> None:
    call, segment = a_call()
    masses = Masses()
    masses.take_in(call, segment, found_for(segment), None)
    masses.take_in(call, segment, found_for(segment), None)
    assert masses.sums is not None
    assert torch.allclose(masses.sums, 2 * expected(call, segment), atol=1e-5)


def test_gates_weigh_masses_too() -> None:
    call, segment = a_call()
    shut = torch.full((4,), -40.0)
    for on_scores, most in ((False, 1e-6), (True, 4.0)):
        masses = Masses()
        masses.take_in(call, segment, found_for(segment), Gating(shut, on_scores))
        assert masses.sums is not None
        assert masses.sums.sum(dim=1).max() <= most


@pytest.mark.parametrize("gate", ["none", "scores", "outputs"])
@torch.no_grad()
def test_shares_are_parts_of_what_went_to_the_memory(gate: Any) -> None:
    mechanism = trained(tiny(options=replace(OPTIONS, gate=gate)))
    state = told(mechanism, 22)
    begun = mechanism.begin(state.repeated(2), some_ids(2, 6, seed=4))
    begun.step(torch.tensor([5, 9]))
    for row in range(2):
        shares = begun.shares[row]
        assert len(shares) == 2
        assert sum(one.share for one in shares) == pytest.approx(1)
        assert shares[0].share >= shares[1].share > 0
        spans = {(one.start, one.end) for one in shares}
        assert spans <= {(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 22)}
    assert [[*one] for one in mechanism.begin(mechanism.empty(2), some_ids(2, 6)).shares] == [
        [],
        [],
    ]


@torch.no_grad()
def test_a_chunk_whose_keys_meet_the_query_has_the_larger_share() -> None:
    call, segment = a_call()
    query = call.query[:, ::2, -1:]
    keys = segment.key.clone()
    keys[:, :, :1] = 5 * query
    masses = Masses()
    masses.take_in(call, segment._replace(key=keys), found_for(segment), None)
    mechanism = tiny()
    (bank,) = told(mechanism).banks
    shares = masses.shares(0, found_for(segment), bank)
    assert (shares[0].start, shares[0].end) == (8, 12)
