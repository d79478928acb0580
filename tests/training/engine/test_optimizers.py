from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_mplus, some_ids
from torch import Tensor

from memplus.mplus.model import MPlus
from memplus.training.engine.common_config import OptimizerConfig
from memplus.training.engine.optimizers import (
    choose_trainable,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
)

CONFIG_WITH_ADAPTERS = replace(CONFIG, adapters=ADAPTERS)


def names_in(model: MPlus, weights: list[Tensor]) -> set[str]:
    known = {id(weight): name for name, weight in model.named_parameters()}
    return {known[id(weight)] for weight in weights}


def test_adapters_and_memory_weights_are_trained_in_full_precision() -> None:
    model = make_mplus(config=CONFIG_WITH_ADAPTERS, dtype=torch.bfloat16)
    choose_trainable(model, "adapters")
    for name, weight in model.named_parameters():
        trained = "lora_" in name or name.startswith("weights.")
        assert weight.requires_grad == trained, name
        assert (weight.dtype == torch.float32) == trained, name


def test_all_weights_can_be_trained() -> None:
    model = make_mplus(config=CONFIG_WITH_ADAPTERS)
    choose_trainable(model, "all")
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_trained_weight_is_in_one_group(kind: str) -> None:
    model = make_mplus()
    made = make_optimizers(model, OptimizerConfig(kind, 1e-3), 1e-4)  # type: ignore[arg-type]
    groups = [group for optimizer in made for group in optimizer.param_groups]
    weights = [weight for group in groups for weight in group["params"]]
    assert len(weights) == len({id(weight) for weight in weights})
    assert names_in(model, weights) == {name for name, _ in model.named_parameters()}
    rates = {name: group["lr"] for group in groups for name in names_in(model, group["params"])}
    decays = {
        n: group["weight_decay"] for group in groups for n in names_in(model, group["params"])
    }
    for name, rate in rates.items():
        assert rate == (1e-4 if "retriever" in name else 1e-3), name
        vector = model.get_parameter(name).ndim != 2 or "embed_tokens" in name
        assert (decays[name] == 0) == vector, name
    muon = [o for o in made if isinstance(o, torch.optim.Muon)]
    assert len(muon) == (kind == "muon")


def test_without_a_rate_of_its_own_the_retriever_learns_like_the_rest() -> None:
    model = make_mplus()
    made = make_optimizers(model, OptimizerConfig("muon", 1e-3), None)
    assert {group["lr"] for optimizer in made for group in optimizer.param_groups} == {1e-3}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_their_state_is_restored(kind: str) -> None:
    model, twin = make_mplus(), make_mplus()
    config = OptimizerConfig(kind, 1e-2)  # type: ignore[arg-type]
    pair = [(one, make_optimizers(one, config, 1e-3)) for one in (model, twin)]
    for seed in range(3):
        if seed == 2:
            with torch.no_grad():
                for source, target in zip(model.parameters(), twin.parameters(), strict=True):
                    target.copy_(source)
            restore_optimizers(pair[1][1], optimizer_tensors(pair[0][1]))
        for one, optimizers in pair if seed == 2 else pair[:1]:
            ids = some_ids(1, 12, seed=seed)
            rows = one.core.write_rows(ids, one.core.context([None]))
            (rows.square().mean() + one(ids).logits.square().mean()).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    for (name, one), two in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert one.equal(two), name
