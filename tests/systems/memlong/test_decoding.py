from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import some_ids
from tests.systems.memlong.slow import FAMILIES, OPTIONS, tiny, trained
from tests.systems.memlong.test_mechanism import close, told


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("changes", [{}, {"positions": "continual"}, {"gate": "scores"}])
@torch.no_grad()
def test_token_by_token_is_all_at_once(name: str, changes: dict[str, Any]) -> None:
    mechanism = trained(tiny(name, replace(OPTIONS, **changes)))
    state, ids = told(mechanism).repeated(2), some_ids(2, 12, seed=4)
    whole = mechanism.read_about(state, ids, torch.tensor([[0, 7]] * 2))
    begun = mechanism.begin(state, ids[:, :7])
    assert close(begun.hidden, whole[:, 6], 5e-5)
    for place in range(7, 12):
        begun.step(ids[:, place])
        assert close(begun.hidden, whole[:, place], 5e-5)


@torch.no_grad()
def test_what_was_found_stays_and_the_state_is_not_changed() -> None:
    mechanism = tiny()
    state = told(mechanism)
    before = {name: one.clone() for name, one in state.tensors.items()}
    begun = mechanism.begin(state, some_ids(1, 7, seed=4))
    chunks = {(one.start, one.end) for one in begun.shares[0]}
    for token in range(5):
        begun.step(torch.tensor([token]))
    assert {(one.start, one.end) for one in begun.shares[0]} == chunks
    assert all(state.tensors[name].equal(one) for name, one in before.items())


@torch.no_grad()
def test_two_texts_are_gone_on_with_side_by_side() -> None:
    mechanism = tiny()
    state, ids = told(mechanism), some_ids(2, 6, seed=4)
    one, other = mechanism.begin(state, ids[:1]), mechanism.begin(state, ids[1:])
    for token in (3, 4):
        one.step(torch.tensor([token]))
        other.step(torch.tensor([token]))
    both = mechanism.begin(state.repeated(2), ids)
    for token in (3, 4):
        both.step(torch.tensor([token, token]))
    assert close(both.hidden, torch.cat([one.hidden, other.hidden]))
