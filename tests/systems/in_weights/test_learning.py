from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fakes import make_mplus
from tests.systems.conftest import SMALL
from tests.systems.in_weights.base import Base
from torch.nn import functional

from memplus import MPlus
from memplus.backbone.lora import Lora, LoraSizes, under
from memplus.errors import ConfigError
from memplus.systems.in_weights.learning import learn
from memplus.systems.in_weights.options import InWeightsOptions

PIECES = [list(range(10, 40)), list(range(90, 60, -1)), [5, 6, 7]]


def fresh(model: MPlus, alpha: int = 6) -> Lora:
    generator = torch.Generator().manual_seed(0)
    return Lora(model.backbone, LoraSizes(rank=3, alpha=alpha), generator=generator)


def learned(model: MPlus, order: str = "a", **options: Any) -> Lora:
    lora = fresh(model)
    learn(model.core, lora, PIECES, InWeightsOptions(**options), order)
    return lora


@torch.no_grad()
def loss(model: MPlus, lora: Lora, ids: list[int]) -> float:
    with under(model.backbone, lora):
        logits = model.backbone.model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
    return float(functional.cross_entropy(logits, torch.tensor(ids[1:])))


def same(one: Lora, other: Lora) -> bool:
    left, right = one.tensors(), other.tensors()
    return all(torch.equal(weight, right[name]) for name, weight in left.items())


def test_pieces_become_likelier_the_longer_they_are_learned() -> None:
    model = make_mplus(config=SMALL)
    before, once, often = (
        [loss(model, lora, ids) for ids in PIECES]
        for lora in (
            fresh(model),
            learned(model, epochs=1, learning_rate=1e-2),
            learned(model, epochs=6, learning_rate=1e-2),
        )
    )
    for least, less, most in zip(often, once, before, strict=True):
        assert least < less < most


def test_a_step_is_adamw_with_the_published_numbers_and_clipped() -> None:
    model, ids = make_mplus(config=SMALL), PIECES[0]
    lora, own = (fresh(model, alpha=60) for _ in range(2))
    learn(model.core, lora, [ids], InWeightsOptions(epochs=2, learning_rate=1e-2), "a")
    optimizer = torch.optim.AdamW(
        own.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-5, weight_decay=1e-4
    )
    for rate in (1e-2, 5e-3):  # a cosine over two steps: all, then half
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        with under(model.backbone, own):
            logits = model.backbone.model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
        functional.cross_entropy(logits, torch.tensor(ids[1:])).backward()
        assert torch.nn.utils.clip_grad_norm_(own.parameters(), 1.0) > 1.5
        optimizer.step()
    theirs = own.tensors()
    for name, weight in lora.tensors().items():
        assert torch.allclose(weight, theirs[name], atol=1e-6), name


def test_the_order_of_pieces_is_what_it_is_seeded_with() -> None:
    model = make_mplus(config=SMALL)
    first, again, other = (learned(model, order, epochs=2) for order in "aab")
    assert same(first, again)
    assert not same(first, other)


def test_nothing_of_the_base_has_changed() -> None:
    model = make_mplus(config=SMALL)
    frozen = next(iter(model.model.parameters()))
    frozen.requires_grad_(requires_grad=False)
    before, state = Base.of(model), torch.random.get_rng_state()
    lora = learned(model)
    before.require_same(model)
    assert torch.random.get_rng_state().equal(state)
    assert all(one.grad is None for one in lora.parameters())


def test_a_rate_that_is_too_high_is_refused_and_the_base_is_as_it_was() -> None:
    model = make_mplus(config=SMALL)
    before = Base.of(model)
    with pytest.raises(ConfigError, match=r"learning_rate cannot be 1e\+30: step 2 of 15"):
        learned(model, learning_rate=1e30)
    before.require_same(model)
