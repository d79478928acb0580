"""Is this model what it claims to be? Checks that run on the real weights.

Each check answers one way in which people were silently given wrong numbers: weights that were
not loaded, frequencies that a library turned to garbage, a memory that the model does not read.

Shapes: T tokens, L layers, d hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.backbone.attention import Attended, AttentionCall, attend_concatenated
from memplus.backbone.session import Session, running
from memplus.errors import SelfTestError
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix

__all__ = ["Check", "examine", "require_healthy"]

_PREFIX, _TEXT = 20, 12
# Largest difference of logits over their own spread, by dtype; or this many times what the stock
# model differs from itself, since many layers in bfloat16 round more than few.
_TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_TIMES_OWN = 2.0


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    detail: str


def examine(model: MPlus) -> list[Check]:
    """Run every check; never raises for a sick model."""
    checks = (_dtype, _weights, _frequencies, _oracle, _memory_is_read)
    return [check(model) for check in checks]


def require_healthy(model: MPlus) -> None:
    """Raise on the first failed check.

    Raises:
        SelfTestError: with what failed.
    """
    for check in examine(model):
        if not check.ok:
            raise SelfTestError(model.name, detail=f"{check.name}: {check.detail}")


def _dtype(model: MPlus) -> Check:
    """In what it computes, and why; nothing can be wrong with it."""
    name = str(model.backbone.dtype).removeprefix("torch.")
    return Check("dtype", ok=True, detail=f"{name}, {model.dtype_reason}")


def _weights(model: MPlus) -> Check:
    """Names and shapes were compared when the weights were loaded; here, their numbers."""
    count = 0
    for name, weight in model.named_parameters():
        count += weight.numel()
        if weight.is_meta or not bool(torch.isfinite(weight).all()):
            return Check("weights", ok=False, detail=f"{name} is not loaded or not finite")
        if weight.dim() > 1 and "lora_B" not in name and not bool(weight.any()):
            return Check("weights", ok=False, detail=f"{name} is all zeros")
    return Check("weights", ok=True, detail=f"{count:,} numbers, all finite")


def _frequencies(model: MPlus) -> Check:
    """Position 0 turns nothing, angles fall from one frequency to the next, all is finite."""
    like = torch.zeros(1, 1, model.backbone.hidden_size, dtype=torch.float32, device=model.device)
    for layer in model.backbone.layers:
        if not layer.rotated:
            continue
        cos, sin = model.backbone.angles(layer, 2, like)
        scale = cos[0, 0]
        slow = sin[1] / scale
        finite = bool(torch.isfinite(cos).all() and torch.isfinite(sin).all())
        still = bool((sin[0].abs() < 1e-6).all() and (cos[0] - scale).abs().max() < 1e-6)
        falling = bool((slow.diff() <= 1e-6).all())
        if not (finite and still and falling):
            return Check("frequencies", ok=False, detail=f"layer {layer.index} has garbage angles")
    return Check("frequencies", ok=True, detail=f"{model.positions:,} positions")


class _Inputs(Session):
    """Collects what every layer gets in a plain forward pass."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Keep the layer's input."""
        self.hidden.append(hidden)
        return hidden

    def attend(self, call: AttentionCall) -> Attended:
        """Attend to the text alone."""
        return attend_concatenated(call, [])


@torch.no_grad()
def _oracle(model: MPlus) -> Check:
    """A prefix made of the model's own layer inputs must read like the text itself."""
    size = int(model.backbone.embedding.num_embeddings)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, size, (1, _PREFIX + _TEXT), generator=generator).to(model.device)
    inputs = _Inputs()
    with running(model.backbone, inputs, model.backbone.adapters.reading):
        plain = model.backbone.model(input_ids=ids, use_cache=False).logits[:, _PREFIX:].float()
    rows = torch.stack([hidden[:, :_PREFIX] for hidden in inputs.hidden], dim=1)
    prefix = HiddenPrefix(model.backbone, model.weights, rows, bos=False)
    read = model.core.logits(model.core.read_rows(ids[:, _PREFIX:], prefix))
    spread = max(1.0, float(plain.std()))
    error = float((plain - read.float()).abs().max()) / spread
    own = float((plain - _in_two(model, ids)).abs().max()) / spread
    limit = max(_TOLERANCE.get(model.backbone.dtype, 1e-1), _TIMES_OWN * own)
    detail = f"rows read beside the text differ from the text itself by {error:.1e}"
    return Check("oracle", error <= limit, f"{detail}, allowed {limit:.0e}")


def _in_two(model: MPlus, ids: Tensor) -> Tensor:
    """Logits [1, T, V] of the text when the stock model reads the prefix first and then goes on
    with its cache: the same by rights, so what differs is rounding."""
    with running(model.backbone, _Inputs(), model.backbone.adapters.reading):
        first = model.backbone.model(input_ids=ids[:, :_PREFIX], use_cache=True)
        cache = first.past_key_values
        rest = model.backbone.model(input_ids=ids[:, _PREFIX:], past_key_values=cache)
    logits: Tensor = rest.logits.float()
    return logits


@torch.no_grad()
def _memory_is_read(model: MPlus) -> Check:
    """The same prompt with and without a memory must not give the same logits."""
    size = int(model.backbone.embedding.num_embeddings)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, size, (1, _TEXT), generator=generator).to(model.device)
    memory = model.new_memory()
    try:
        model.write_chunk(memory, ids)
    except SelfTestError as error:
        return Check("memory", ok=False, detail=str(error.fields["detail"]))
    on = model(ids, memory=memory).logits.float()
    off = model(ids).logits.float()
    change = float((on - off).abs().max())
    ok = change > 0 and bool(torch.isfinite(on).all())
    return Check("memory", ok, f"logits change by up to {change:.2e} with the memory on")
