"""What a model says of itself is what its core is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import CONFIG, make_mplus

from memplus.config import PromptConfig


def test_a_model_shows_what_it_is() -> None:
    shown = repr(make_mplus())
    for part in ("MPlus(", "LlamaForCausalLM", "weights", "short_term=24", "retrieved=8"):
        assert part in shown


def test_its_properties_are_those_of_its_core() -> None:
    model = make_mplus()
    assert model.memory_config is CONFIG
    assert model.device == torch.device("cpu")
    assert model.positions == model.backbone.rope.positions
    assert model.identity["weights"] != model.identity["memory weights"]
    assert model.decode(model.encode("a text")) == "a text"


def test_a_prompt_can_be_changed_and_what_shapes_memories_cannot() -> None:
    model = make_mplus()
    model.prompt = PromptConfig(abstention="Who knows?")
    assert model.core.prompt.abstention == "Who knows?"
    for name in ("memory_config", "name", "fingerprint"):
        with pytest.raises(AttributeError):
            setattr(model, name, replace(CONFIG, bos=False))
