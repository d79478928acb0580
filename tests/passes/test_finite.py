"""A model whose weights are no numbers is found at the first write, and at the first answer."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import make_mplus, some_ids

from memplus import MPlus
from memplus.errors import SelfTestError
from memplus.passes.finite import FiniteScores, require_finite

EVERYWHERE = [
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.3.self_attn.q_proj.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.1.self_attn.v_proj.weight",
    "model.layers.2.input_layernorm.weight",
    "model.layers.3.mlp.down_proj.weight",
    "model.norm.weight",
]


def spoilt(name: str, value: float) -> MPlus:
    model = make_mplus()
    with torch.no_grad():
        model.model.get_parameter(name)[..., 3] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_write_of_a_sick_model_is_refused_and_leaves_the_memory(name: str, value: float) -> None:
    model = spoilt(name, value)
    memory = model.new_memory()
    with pytest.raises(SelfTestError, match="what it makes of a text is infinite or no number"):
        model.write(memory, "The desk code is 7310. " * 3, flush=True)
    assert (memory.tokens, memory.writes) == (0, [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [*EVERYWHERE, "lm_head.weight"])
def test_an_answer_of_a_sick_model_is_refused(name: str, value: float) -> None:
    model = spoilt(name, value)
    with pytest.raises(SelfTestError, match="its score of a token is infinite or no number"):
        model.ask(model.new_memory(), "What is the desk code?")


def test_a_forbidden_token_is_no_fault() -> None:
    scores = torch.tensor([[1.0, -torch.inf, 2.0]])
    assert torch.equal(FiniteScores("m")(some_ids(1, 3), scores), scores)


def test_only_the_first_scores_are_looked_at() -> None:
    check = FiniteScores("m")
    check(some_ids(1, 3), torch.ones(1, 4))
    check(some_ids(1, 4), torch.full((1, 4), torch.nan))


def test_the_model_is_named() -> None:
    require_finite("m", "a sum", torch.ones(3))
    with pytest.raises(SelfTestError, match="m failed its self-test: a sum"):
        require_finite("m", "a sum", torch.tensor([1.0, torch.nan]))
