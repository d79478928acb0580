"""Numbers of the published code: LaMemo and the Transformer-XL beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.systems.golden import golden_files, golden_folder
from torch import Tensor

from memplus.systems.lamemo.layer_step import Blend, weights_of
from memplus.systems.lamemo.published import Passed, PublishedLaMemo, PublishedSizes
from memplus.systems.lamemo.window import Window

CLOSE = 1e-5


@pytest.fixture(params=[path.stem for path in golden_files("lamemo")] or [None])
def case(request: pytest.FixtureRequest) -> "Golden":
    if request.param is None:
        golden_folder("lamemo")
    return Golden(golden_folder("lamemo"), request.param)


class Golden:
    """One model of the published code, and what it computed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.sizes: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.lookahead = self.sizes["attn_type"] == 3
        self.model = self._model()

    def _model(self) -> PublishedLaMemo:
        found = self.sizes
        assert found["attn_type"] in (0, 3), "another way of attention"
        assert not found["same_length"], "another mask"
        model = PublishedLaMemo(
            PublishedSizes(
                vocabulary=found["vocab"],
                layers=found["layers"],
                heads=found["heads"],
                width=found["d_model"],
                head_width=found["d_head"],
                inner=found["d_inner"],
                memory=found["memory"],
                norm_first=found["pre_lnorm"],
                clamp=found["clamp_len"] if found["clamp_len"] > 0 else None,
                blend=Blend(lookahead=self.lookahead, epsilon=1e-6),
            )
        )
        model.load_state_dict(self._weights())
        return model

    def _weights(self) -> dict[str, Tensor]:
        found = {"frequencies": self.tensors["weight.pos_emb.inv_freq"]}
        for name, ours in self.names().items():
            parts = self.tensors[f"weight.{name}"].chunk(len(ours))
            found |= dict(zip(ours, parts, strict=True))
        return found

    def names(self) -> dict[str, list[str]]:
        """Published names of weights, each with ours, in the order in which it joins them."""
        found = {
            "word_emb.emb_layers.0.weight": ["embedding.weight"],
            "crit.out_layers.0.bias": ["output_bias"],
            "r_w_bias": ["content"],
            "r_r_bias": ["left"],
        }
        if self.lookahead:
            found["r_r_bias_future"] = ["right"]
        for layer in range(self.sizes["layers"]):
            parts = self._layer()
            found |= {
                f"layers.{layer}.{name}": [f"layers.{layer}.{one}" for one in ours]
                for name, ours in parts.items()
            }
        return found

    def _layer(self) -> dict[str, list[str]]:
        projections = {"q_net": ["query"], "kv_net": ["key", "value"]}
        if not self.lookahead:
            projections = {"qkv_net": ["query", "key", "value"]}
        projections |= {"r_net": ["distance"], "o_net": ["out"]}
        found = {
            f"dec_attn.{name}.weight": [f"{one}.weight" for one in ours]
            for name, ours in projections.items()
        }
        for end in ("weight", "bias"):
            found |= {
                f"dec_attn.layer_norm.{end}": [f"attention_norm.{end}"],
                f"pos_ff.layer_norm.{end}": [f"mlp_norm.{end}"],
                f"pos_ff.CoreNet.0.{end}": [f"mlp.0.{end}"],
                f"pos_ff.CoreNet.3.{end}": [f"mlp.2.{end}"],
            }
        return found

    def segment(self, number: int, ahead: int = 0) -> Tensor:
        """[B, N] tokens of a segment, or those that they predict."""
        start = number * self.sizes["segment"] + ahead
        return self.tensors["tokens"][start : start + self.sizes["segment"]].t()

    def check(self, name: str, found: Tensor) -> None:
        expected = self.tensors[name]
        assert found.shape == expected.shape, name
        assert (found - expected).abs().max() < CLOSE, name


def batch_last(weights: Tensor) -> Tensor:
    """[B, H, Q, K] -> [Q, K, B, H]."""
    return weights.permute(2, 3, 0, 1)


def check_segment(case: Golden, number: int, before: Window, passed: Passed) -> None:
    name = f"seg{number}"
    case.check(f"{name}.hidden", passed.hidden.transpose(0, 1))
    case.check(f"{name}.logits", case.model.logits(passed.hidden).transpose(0, 1))
    losses = case.model.losses(passed.hidden, case.segment(number, 1))
    case.check(f"{name}.loss", losses.t())
    seen = before.sight(case.sizes["segment"]).left
    for layer, step in enumerate(passed.steps):
        given = f"{name}.layer{layer}"
        if number or not case.lookahead:
            case.check(f"{given}.attention", batch_last(weights_of(step.left, seen)))
    if case.lookahead:
        check_memory(case, name, before, passed)
    else:
        check_kept_hidden(case, name, passed)


def check_memory(case: Golden, name: str, before: Window, passed: Passed) -> None:
    after = passed.window
    case.check(f"{name}.embeddings_after", after.embeddings.transpose(0, 1))
    if before.count:
        case.check(f"{name}.memory_hidden", passed.memory.transpose(0, 1))
    for layer, step in enumerate(passed.steps):
        given = f"{name}.layer{layer}"
        case.check(f"{given}.context_after", after.context[layer].transpose(0, 1))
        case.check(f"{given}.logsumexp_after", after.logs[layer].transpose(0, 1))
        if step.right is None or step.alpha is None:
            assert not before.count
            continue
        seen = before.sight(case.sizes["segment"]).right
        case.check(f"{given}.lookahead_attention", batch_last(weights_of(step.right, seen)))
        case.check(f"{given}.alpha", step.alpha.transpose(0, 1)[..., None])


def check_kept_hidden(case: Golden, name: str, passed: Passed) -> None:
    """Transformer-XL keeps hidden states; here they follow from what is kept."""
    keeps = case.sizes["memory"]
    kept = [passed.window.embeddings, *(layer[:, -keeps:] for layer in passed.layers)]
    for index, hidden in enumerate(kept):
        case.check(f"{name}.mems_after.{index}", hidden.transpose(0, 1))


@torch.no_grad()
def test_golden_segments_are_the_published_ones(case: Golden) -> None:
    window = case.model.empty(case.sizes["batch"])
    for number in range(case.sizes["segments"]):
        passed = case.model(window, case.segment(number))
        check_segment(case, number, window, passed)
        window = passed.window


def test_golden_gradients_of_the_second_segment(case: Golden) -> None:
    window = case.model(case.model.empty(case.sizes["batch"]), case.segment(0)).window
    passed = case.model(window, case.segment(1))
    loss = case.model.losses(passed.hidden, case.segment(1, 1)).mean()
    loss.backward()
    case.check("train.seg1_loss", loss.detach()[None])
    own, names = dict(case.model.named_parameters()), case.names()
    prefix = "train.seg1_grad."
    given = [one for one in case.tensors if one.startswith(prefix)]
    assert given
    for name in given:
        grads = [own[one].grad for one in names[name.removeprefix(prefix)]]
        case.check(name, torch.cat([one for one in grads if one is not None]))
