"""Golden numbers of the published code; see the README beside them."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.systems.golden import golden_files, golden_folder
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from memplus.backbone.access import Backbone
from memplus.systems.hmt.mechanism import HMTMechanism
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.hmt.padded import Padded
from memplus.systems.hmt.state import HMTState

_OWN = {
    "initial": "initial_memory", "summary_prompt": "summary_prompt",
    "retrieval.query": "wq", "retrieval.key": "wk",
}  # fmt: skip
"""Ours -> the published code's name; stage 1 has the first alone."""
Found = dict[str, Tensor]
_ROUNDING = 2.0**-23


class Golden:
    """One file of golden numbers and the model that it is of.

    Args:
        name: of the file.
        dtype: the model's.
    """

    def __init__(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        folder = golden_folder("hmt")
        self.sizes: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.dtype = dtype
        self.within = 5e-2 if self.sizes["bfloat16_retrieval"] else 1e-5

    @cached_property
    def model(self) -> LlamaForCausalLM:
        sizes = dict(self.sizes["llama"])
        rope = {"rope_type": "default", "rope_theta": sizes.pop("rope_theta")}
        config = LlamaConfig(**sizes, rope_parameters=rope)
        config._attn_implementation = "eager"
        model = LlamaForCausalLM(config).eval()
        prefix = "backbone."
        weights = {
            name.removeprefix(prefix): weight
            for name, weight in self.tensors.items()
            if name.startswith(prefix)
        }
        missing, over = model.load_state_dict(weights, strict=False)
        assert over == []
        assert missing == (["lm_head.weight"] if config.tie_word_embeddings else [])
        return model.to(self.dtype)

    @cached_property
    def hmt(self) -> HMTMechanism:
        sizes = self.sizes
        published = "padding" if sizes["left_pad_row0"] else "none"
        options = HMTOptions(
            segment_tokens=sizes["segment_tokens"],
            sensory_tokens=sizes["sensory_tokens"],
            cache=sizes["cache_limit"],
            retrieval_dim=sizes["retrieval_dim"],
            summary_fraction=sizes["summary_fraction"],
            retrieval="on" if sizes["retrieval"] else "off",
            rank=0,
            published="bfloat16" if sizes["bfloat16_retrieval"] else published,  # type: ignore[arg-type]
        )
        made = HMTMechanism(Backbone(self.model), options)
        with torch.no_grad():
            for ours, theirs in _OWN.items():
                if f"hmt.{theirs}" in self.tensors:
                    weight = made.segments.get_parameter(ours)
                    weight.copy_(self.tensors[f"hmt.{theirs}"].view_as(weight))
        return made.to(self.dtype)

    @property
    def pieces(self) -> list[Padded]:
        """The input's segments, padded where its mask is zero."""
        pad, found = (1 - self.tensors["attention_mask"]).sum(dim=1), []
        for piece in self.tensors["input_ids"].split(self.sizes["segment_tokens"], dim=1):
            found.append(Padded.of(piece, pad.clamp(max=piece.shape[1])))
            pad = (pad - piece.shape[1]).clamp(min=0)
        return found

    def state(self, index: int) -> HMTState:
        """The published code's, before a segment."""
        state = self.hmt.empty(self.sizes["batch"])
        if not index:
            return state
        if self.sizes["retrieval"]:
            cache = self.tensors[f"seg{index}.cache_before"]
        else:
            cache = self.tensors[f"seg{index - 1}.memory_out"]
        before, count = self.pieces[index - 1].ids, self.sizes["sensory_tokens"]
        sensory = before[:, max(0, before.shape[1] - count) :]
        bounds = tuple(range(cache.shape[1] + 1))
        return HMTState(cache.to(self.dtype), sensory, bounds)


NAMES = [path.stem for path in golden_files("hmt")] or ["none"]


def segment_numbers(golden: Golden, index: int, state: HMTState) -> tuple[Found, HMTState]:
    """All that the published code recorded of a segment, by its names; and the state behind it."""
    segments, piece, name = golden.hmt.segments, golden.pieces[index], f"seg{index}"
    found, begins = {}, segments.beginning(piece)
    if golden.sizes["retrieval"]:
        found[f"{name}.summary"] = segments.summary(begins)[:, None]
        if index:
            found[f"{name}.cache_before"] = state.cache
            found[f"{name}.retrieved"] = segments.retrieved(state, begins)[0][:, None]
    hidden, state = segments.read_and_write(state, piece)
    found[f"{name}.memory_out"] = state.cache[:, -1:]
    found[f"{name}.logits"] = golden.model.lm_head(hidden)
    return found, state


def all_numbers(golden: Golden) -> Found:
    """Every segment after the other, then the loss and its gradients."""
    state, found = golden.hmt.empty(golden.sizes["batch"]), dict[str, Tensor]()
    for index in range(len(golden.pieces)):
        of_segment, state = segment_numbers(golden, index, state)
        found |= of_segment
    labels, ids = golden.sizes["mask_size"], golden.tensors["input_ids"]
    logits = [found[f"seg{index}.logits"] for index in range(len(golden.pieces))]
    scored = torch.cat(logits, dim=1)[:, -labels - 1 : -1]
    loss = functional.cross_entropy(scored.flatten(0, 1), ids[:, -labels:].flatten())
    return found | {"loss": loss[None]} | gradients(golden, loss)


def gradients(golden: Golden, loss: Tensor) -> Found:
    decoder, own = golden.model.model, golden.hmt.segments
    weights = {f"grad.{theirs}": own.get_parameter(ours) for ours, theirs in _OWN.items()}
    weights |= {
        "grad.embed_tokens": decoder.embed_tokens.weight,
        "grad.layer0.q_proj": decoder.layers[0].self_attn.q_proj.weight,
    }
    names = [name for name in golden.tensors if name.startswith("grad.")]
    if names:
        loss.backward()
    shapes = {name: golden.tensors[name].shape for name in names}
    return {name: gradient(weights[name]).view(shape) for name, shape in shapes.items()}


def gradient(weight: Tensor) -> Tensor:
    """Zero where no number depends on the weight: of one cached vector no summary is made."""
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def apart(golden: Golden, name: str, found: Tensor) -> tuple[float, float]:
    """How far a tensor is from the published code's, and the size of the numbers in it.

    What stands at padding is nobody's: logits there are left out.
    """
    expected = golden.tensors[name].to(golden.dtype)
    assert found.shape == expected.shape, name
    difference = (found - expected).abs()
    if name.endswith(".logits"):
        visible = golden.pieces[int(name.removeprefix("seg").partition(".")[0])].visible
        difference = difference if visible is None else difference[visible]
    return difference.max().item(), max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_golden_steps_of_each_segment(name: str) -> None:
    golden, checked = Golden(name), set[str]()
    for index in range(len(golden.pieces)):
        found, _ = segment_numbers(golden, index, golden.state(index))
        for which, tensor in found.items():
            distance, size = apart(golden, which, tensor)
            assert distance <= golden.within * size, which
        checked |= found.keys()
    assert checked == {one for one in golden.tensors if one.startswith("seg")}


def disturbed(name: str, seed: int) -> Found:
    """The numbers of weights that are off by float32's rounding, in float64."""
    golden, generator = Golden(name, torch.float64), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (*golden.model.parameters(), *golden.hmt.parameters()):
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.mul_(1 + _ROUNDING * noise)
    return all_numbers(golden)


@pytest.mark.parametrize("name", NAMES)
def test_golden_text_loss_and_gradients_from_end_to_end(name: str) -> None:
    # A random decoder makes the rounding of each segment some times as large in the next one, so
    # after six of them float32 knows no more than three digits: as far as rounding of the weights
    # goes, so far may the numbers lie apart.
    golden, precise = Golden(name), Golden(name, torch.float64)
    found, exact = all_numbers(golden), all_numbers(precise)
    assert found.keys() == golden.tensors.keys() - inputs(golden)
    others = [disturbed(name, seed) for seed in range(3)]
    for which, tensor in found.items():
        moved = max((other[which] - exact[which]).abs().max().item() for other in others)
        distance, size = apart(golden, which, tensor)
        from_exact, _ = apart(precise, which, exact[which])
        bound = golden.within * size + 2 * moved
        assert distance <= bound, which
        assert from_exact <= bound, which
        assert moved <= 1e-2 * size, which


def inputs(golden: Golden) -> set[str]:
    """Names of what was given, and of what another test looks at."""
    starts = ("backbone.", "hmt.")
    given = {name for name in golden.tensors if name.startswith(starts)}
    return given | {"input_ids", "attention_mask", "generated"}


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_golden_greedy_tokens(name: str) -> None:
    golden = Golden(name)
    count = golden.sizes["generated"]
    assert bool(count) == ("generated" in golden.tensors)
    *before, last = golden.pieces
    state = golden.hmt.empty(golden.sizes["batch"])
    for piece in before:
        _, state = golden.hmt.segments.read_and_write(state, piece)
    going, said = golden.hmt.begin(state, last.ids, last.pad), list[Tensor]()
    for _ in range(count):
        said.append(golden.model.lm_head(going.hidden).argmax(dim=-1))
        going.step(said[-1])
    if count:
        assert torch.stack(said, dim=1).equal(golden.tensors["generated"])
