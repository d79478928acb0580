"""A stock decoder as memplus sees it: layers, norms, projections, positions.

The only room that imports transformers and peft. Nothing of the model is copied or changed.

Shapes: B batch, P rows, d hidden size, H key/value heads, D head width.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from memplus.backbone.adapters import Adapters
from memplus.backbone.current import lock_of
from memplus.backbone.families import FAMILIES, Family
from memplus.backbone.rope import Angles, Rope
from memplus.backbone.whole import check_whole
from memplus.errors import NotADecoderError, UnsupportedModelError, UsageError

__all__ = ["Backbone", "Layer", "check_supported"]


@dataclass(frozen=True)
class Layer:
    """One decoder layer and how to project memory rows as it projects text."""

    index: int
    module: nn.Module
    attention: nn.Module
    family: Family
    head_dim: int
    kind: str | None
    """Layer type, where the model has several sets of rotary frequencies."""
    rotated: bool
    """Whether this layer uses rotary positions at all."""

    @property
    def norm_module(self) -> nn.Module | None:
        """The norm before attention, where the family has one."""
        name = self.family.input_norm
        return None if name is None else getattr(self.module, name)

    def norm(self, hidden: Tensor) -> Tensor:
        """The layer's norm before attention, [..., d] -> [..., d]."""
        module = self.norm_module
        if module is None:
            return hidden
        normed: Tensor = module(hidden)
        return normed

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Memory rows [..., P, d] -> unrotated keys and values [..., P, H, D]."""
        return self.family.project(self.attention, self.norm(rows), self.head_dim)


class Backbone:
    """Access to a stock causal language model.

    Args:
        model: the model; it is used, never changed.
        adapted: whether adapters of these names in it are the memory's own.

    Raises:
        NotADecoderError, UnsupportedModelError, UsageError: before anything runs.
    """

    def __init__(self, model: PreTrainedModel, *, adapted: bool = True) -> None:
        if not isinstance(model, nn.Module) or not hasattr(model, "config"):
            found = type(model).__name__
            raise UsageError(f"model must be a causal language model of transformers, not {found}.")
        check_supported(model.config)
        if model.get_output_embeddings() is None:
            reason = "it has no language-modelling head"
            raise NotADecoderError(type(model).__name__, reason=reason)
        check_whole(model)
        # What torch.compile returns wraps the model; a pass runs it as it is written.
        self.model: Any = getattr(model, "_orig_mod", model)
        self.config: Any = model.config
        self.decoder: Any = self.model.get_decoder()
        with self.lock:  # a pass of another wrapper has another name in the config
            self.stock_attention = str(model.config._attn_implementation)
        self.attention_implementation = _implementation(model, self.stock_attention)
        family = FAMILIES[self.config.model_type]
        self.layers = [
            _layer(index, module, family, self.config)
            for index, module in enumerate(self.decoder.layers)
        ]
        self.rope = Rope(self.decoder.rotary_emb, self.config)
        self.adapters = Adapters(model, ours=adapted)

    @property
    def lock(self) -> threading.RLock:
        """Held by every pass: one lock for one stock decoder, however often it is wrapped."""
        return lock_of(self.decoder)

    @property
    def hidden_size(self) -> int:
        """d."""
        return int(self.config.hidden_size)

    @property
    def head_dim(self) -> int:
        """D."""
        return self.layers[0].head_dim

    @property
    def kv_heads(self) -> int:
        """H: key/value heads."""
        return int(getattr(self.config, "num_key_value_heads", self.config.num_attention_heads))

    @property
    def device(self) -> torch.device:
        """Where the embedding lies."""
        return torch.device(self.embedding.weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the embedding, and so of hidden vectors."""
        dtype: torch.dtype = self.embedding.weight.dtype
        return dtype

    @property
    def embedding(self) -> Any:
        """The input embedding."""
        return self.model.get_input_embeddings()

    def angles(self, layer: Layer, length: int, like: Tensor) -> Angles:
        """cos and sin of positions 0 .. length-1 in this layer, [length, R / 2] each."""
        if not layer.rotated:
            empty = like.new_empty((length, 0))
            return empty, empty
        return self.rope.angles(layer.kind, length, like)


def check_supported(config: Any) -> None:
    """Refuse what memplus cannot carry, by its config alone.

    Raises:
        NotADecoderError: an encoder, an encoder-decoder, or no language model.
        UnsupportedModelError: a decoder of another family.
    """
    name = str(getattr(config, "model_type", "") or "this model")
    if getattr(config, "is_encoder_decoder", False):
        raise NotADecoderError(name, reason="it is an encoder-decoder")
    if name not in FAMILIES:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

        if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise NotADecoderError(name, reason="the library has no causal language model of it")
        if name in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
            raise NotADecoderError(name, reason="it is an encoder")
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(name, reason=f"the supported families are {known}")
    if getattr(config, "use_bidirectional_attention", False):
        raise NotADecoderError(name, reason="its attention is bidirectional")


def _implementation(model: PreTrainedModel, name: str) -> str:
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        return "eager"  # only the eager function applies the cap
    if name not in ("sdpa", "eager"):
        raise UnsupportedModelError(
            type(model).__name__,
            reason=f"attention {name!r} cannot take a memory; load it with 'sdpa' or 'eager'",
        )
    return name


def _layer(index: int, module: Any, family: Family, config: Any) -> Layer:
    attention = getattr(module, family.attention)
    head_dim = getattr(attention, "head_dim", None) or attention.head_size
    kinds = getattr(config, "layer_types", None)
    return Layer(
        index=index,
        module=module,
        attention=attention,
        family=family,
        head_dim=int(head_dim),
        kind=kinds[index] if kinds else None,
        rotated=bool(getattr(attention, "use_rope", True)),
    )
