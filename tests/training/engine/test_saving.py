"""A model that was made of another is saved as what that one was: a bundle, or whole."""

import json
from pathlib import Path

import pytest
import torch
from tests.fakes import some_ids
from tests.training.superseding.spans import spans_model

from memplus import MPlus
from memplus.memory.superseding import FEATURES
from memplus.training.engine.saving import save_as_loaded
from memplus.training.superseding.runs import with_rule

RULE = torch.arange(len(FEATURES) + 1.0) / 4


@pytest.mark.long
@pytest.mark.parametrize("bundled", [True, False])
def test_what_is_saved_loads_as_what_it_was(tmp_path: Path, *, bundled: bool) -> None:
    stock = spans_model()
    for weight in stock.parameters():
        weight.data = weight.data.bfloat16().float()
    stock.save_pretrained(tmp_path / "whole")
    name = tmp_path / "whole"
    if bundled:
        model = MPlus.from_pretrained(name)
        model.save_pretrained(tmp_path / "bundle", base="reference")
        name = tmp_path / "bundle"
    model = with_rule(MPlus.from_pretrained(name), RULE)
    save_as_loaded(model, tmp_path / "out")
    assert (tmp_path / "out" / "adapters.safetensors").exists() == bundled
    config = json.loads((tmp_path / "out" / "memplus.json").read_text())
    assert config["memory"]["retrieval"]["supersedes"] is True
    again = MPlus.from_pretrained(tmp_path / "out")
    assert again.weights.superseding is not None
    assert torch.equal(again.weights.superseding, RULE)
    prompt = some_ids(5)
    memory = model.new_memory()
    model.write(memory, some_ids(900).tolist())
    other = again.new_memory()
    again.write(other, some_ids(900).tolist())
    assert torch.equal(model(prompt, memory=memory).logits, again(prompt, memory=other).logits)
    size = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    before = sum(file.stat().st_size for file in name.glob("*.safetensors"))
    assert size < 0.75 * before  # in 16 bits, which lose nothing here
    short = MPlus.from_pretrained(tmp_path / "out", retrieved_tokens=0)
    assert short.weights.superseding is None
    finer = with_rule(again, RULE)
    with torch.no_grad():
        finer.weights.memory_embedding.add_(1e-5)
    save_as_loaded(finer, tmp_path / "finer")
    kept = MPlus.from_pretrained(tmp_path / "finer").weights.memory_embedding
    assert torch.equal(kept, finer.weights.memory_embedding)
