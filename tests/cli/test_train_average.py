"""``memplus train average``: two bundles in, their mean out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tests.training.superseding.spans import spans_model

from memplus.mplus.model import MPlus

Run = Callable[..., Any]


def test_the_mean_of_two_bundles_is_a_bundle_over_their_base(run: Run, tmp_path: Path) -> None:
    spans_model().save_pretrained(tmp_path / "base")
    weights = []
    for name, value in (("one", 0.25), ("other", 0.75)):
        model = MPlus.from_pretrained(tmp_path / "base")
        for key, weight in model.model.named_parameters():
            if "lora_" in key:
                weight.data.fill_(value)
        model.save_pretrained(tmp_path / name, base="reference")
        weights.append(tmp_path / name)
    ran = run("train", "average", *weights, "--out", tmp_path / "mean", "--json")
    assert ran.code == 0, ran
    assert ran.data == {"models": [str(one) for one in weights], "out": str(tmp_path / "mean")}
    assert (tmp_path / "mean" / "adapters.safetensors").is_file()
    mean = MPlus.from_pretrained(tmp_path / "mean")
    adapters = [one for key, one in mean.model.named_parameters() if "lora_" in key]
    assert adapters
    assert all(bool((one == 0.5).all()) for one in adapters)
    stock = MPlus.from_pretrained(tmp_path / "base").model.get_input_embeddings().weight
    assert torch.equal(mean.model.get_input_embeddings().weight, stock)


def test_one_model_alone_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("train", "average", "nano", "--out", tmp_path / "mean", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "UsageError")
    assert not (tmp_path / "mean").exists()
