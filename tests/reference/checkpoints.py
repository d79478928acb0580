"""Small random checkpoints in the published layouts, made on the fly.

Shapes: L layers, d hidden size, N short-term rows, R retriever width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

TARGETS = ("q_proj", "v_proj", "k_proj", "up_proj", "down_proj", "gate_proj")


@dataclass(frozen=True)
class Shape:
    """What a random checkpoint looks like; the defaults are an M+ with everything."""

    layers: int = 3
    hidden: int = 32
    heads: int = 4
    kv_heads: int = 2
    wide: int = 48
    vocab: int = 64
    rows: int = 6
    """K."""
    blocks: int = 5
    """Of the short-term pool: N = blocks * K."""
    ltm_blocks: int = 2
    """M = ltm_blocks * K; 0 makes a MemoryLLM."""
    ltm_rows: int = 20
    """Rows of the store that comes with the checkpoint."""
    ltm_ages: int = 50
    """Their ages are drawn below this; 1 makes them all 0."""
    merge_every: int = 2
    first_counter: float = 3.0
    selector_layers: int = 2
    selector_dim: int = 8
    bos: bool = True
    lora: int = 3
    """Rank of the adapters; 0 for none."""
    decoder_lora: bool = True
    rope_scaling: Mapping[str, Any] | None = None
    shared_drop: bool = False
    initialized: bool = True


def random_checkpoint(
    directory: Path, shape: Shape, seed: int = 0
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Write config.json and model.safetensors, and return what they hold."""
    raw = _config(shape)
    generator = torch.Generator().manual_seed(seed)
    tensors = _decoder(shape, generator) | _memory(shape, generator)
    if shape.ltm_blocks:
        tensors |= _long_term(shape, generator)
    else:
        tensors["initialized"] = torch.tensor(int(shape.initialized), dtype=torch.uint8)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return raw, tensors


def _config(shape: Shape) -> dict[str, Any]:
    lora = {
        "inference_mode": False,
        "lora_alpha": 2 * shape.lora,
        "lora_dropout": 0.0,
        "r": shape.lora,
        "target_modules": list(TARGETS),
    }
    raw = {
        "architectures": ["MPlus" if shape.ltm_blocks else "MemoryLLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.wide,
        "vocab_size": shape.vocab,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None if shape.rope_scaling is None else dict(shape.rope_scaling),
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_tokens": shape.rows,
        "num_blocks": shape.blocks + shape.ltm_blocks,
        "add_bos_embedding": shape.bos,
        "lora_config": lora if shape.lora else None,
        "add_decoder_lora": bool(shape.lora) and shape.decoder_lora,
        "drop_memory_per_layer": not shape.shared_drop,
    }
    if not shape.ltm_blocks:
        return raw | {"num_memory_tokens": shape.blocks * shape.rows}
    return raw | {
        "num_ltm_blocks": shape.ltm_blocks,
        "ltm_initial_size": shape.ltm_rows,
        "num_selector_layers": shape.selector_layers,
        "selector_hidden_dim": shape.selector_dim,
        "add_selector": True,
        "add_encoder_retriever": False,
        "update_ltm_mode": "immediate",
        "update_ltm_frequency": shape.merge_every,
        "initial_rf_when_moving_stm_to_ltm": shape.first_counter,
        "decay_frequency": 1,
    }


def _matrix(generator: torch.Generator, out: int, into: int) -> Tensor:
    return torch.randn(out, into, generator=generator) / math.sqrt(into)


def _decoder(shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    head_dim = shape.hidden // shape.heads
    kv = shape.kv_heads * head_dim
    d, wide = shape.hidden, shape.wide
    projections = {
        "self_attn.q_proj": (d, d),
        "self_attn.k_proj": (kv, d),
        "self_attn.v_proj": (kv, d),
        "self_attn.o_proj": (d, d),
        "mlp.gate_proj": (wide, d),
        "mlp.up_proj": (wide, d),
        "mlp.down_proj": (d, wide),
    }
    tensors = {
        "model.embed_tokens.weight": torch.randn(shape.vocab, d, generator=generator),
        "model.norm.weight": 1 + 0.1 * torch.randn(d, generator=generator),
        "lm_head.weight": _matrix(generator, shape.vocab, d),
    }
    for layer in range(shape.layers):
        stem = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{stem}.{norm}.weight"] = 1 + 0.1 * torch.randn(d, generator=generator)
        for name, size in projections.items():
            tensors |= _projection(shape, generator, f"{stem}.{name}", size)
    return tensors


def _projection(
    shape: Shape, generator: torch.Generator, name: str, size: tuple[int, int]
) -> dict[str, Tensor]:
    if not shape.lora or name.rpartition(".")[2] not in TARGETS:
        return {f"{name}.weight": _matrix(generator, *size)}
    tensors = {f"{name}.base_layer.weight": _matrix(generator, *size)}
    for adapter in ("default", "decoder_adapter") if shape.decoder_lora else ("default",):
        tensors[f"{name}.lora_A.{adapter}.weight"] = _matrix(generator, shape.lora, size[1])
        tensors[f"{name}.lora_B.{adapter}.weight"] = 0.3 * _matrix(generator, size[0], shape.lora)
    return tensors


def _memory(shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    d = shape.hidden
    pool = shape.blocks * shape.rows
    tensors = {
        "memory": torch.randn(shape.layers, pool, d, generator=generator),
        "new_memory_positional_emb": 0.5 * torch.randn(1, 1, d, generator=generator),
    }
    if shape.bos:
        tensors["bos_embedding"] = torch.randn(shape.layers, 1, d, generator=generator)
    return tensors


def _long_term(shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    d, rows = shape.hidden, shape.ltm_rows
    tensors: dict[str, Tensor] = {}
    for layer in range(shape.layers):
        for which in ("query_proj", "key_proj"):
            name = f"model.layers.{layer}.self_attn.{which}"
            if shape.selector_layers == 1:
                tensors[f"{name}.weight"] = _matrix(generator, shape.selector_dim, d)
            else:
                tensors[f"{name}.0.weight"] = _matrix(generator, d // 2, d)
                tensors[f"{name}.2.weight"] = _matrix(generator, shape.selector_dim, d // 2)
        tensors[f"ltm.{layer}"] = torch.randn(rows, d, generator=generator)
        tensors[f"ltm_keys.{layer}"] = torch.randn(rows, shape.selector_dim, generator=generator)
        ages = torch.randint(0, shape.ltm_ages, (rows,), generator=generator)
        tensors[f"ltm_ages.{layer}"] = ages.float() + 0.4 * (shape.ltm_ages > 1)
        counters = torch.randint(1, 6, (rows,), generator=generator)
        tensors[f"ltm_recall_frequencies.{layer}"] = counters.float()
    return tensors
