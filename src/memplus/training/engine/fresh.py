"""A small Llama with random weights, written down as a stock checkpoint.

Made as files, because only the backbone may know the model library: its own loader reads them.

Shapes: V vocabulary, d hidden size, f feed-forward width, L layers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from memplus.data.corpus import END, PAD
from memplus.errors.base import storage_errors
from memplus.training.engine.common_config import Architecture

__all__ = ["is_fresh", "write_fresh"]

_EMBEDDING_SPREAD = 0.03
_WEIGHTS = "model.safetensors"
"""Written last."""


def write_fresh(folder: Path, sizes: Architecture, tokenizer: Tokenizer, seed: int) -> None:
    """Write config, generation rules, weights and tokenizer into ``folder``.

    Raises:
        StorageError, NotFoundError: the disk refused.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        end, pad = tokenizer.encode(END).ids[0], tokenizer.encode(PAD).ids[0]
        # An answer ends with its line: the stop is a token, so that no time goes into what follows.
        stops = {"eos_token_id": [end, tokenizer.encode("\n").ids[0]], "pad_token_id": pad}
        _write(folder / "config.json", _config(sizes) | stops)
        _write(folder / "generation_config.json", stops)
        tokenizer.save(str(folder / "tokenizer.json"))
        named = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
        }
        _write(folder / "tokenizer_config.json", named)
        save_file(_weights(sizes, seed), folder / _WEIGHTS, metadata={"format": "pt"})


def is_fresh(folder: Path) -> bool:
    """Whether ``write_fresh`` has written into a folder, to the end."""
    return (folder / _WEIGHTS).is_file()


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _config(sizes: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "head_dim": sizes.hidden // sizes.heads,
        "max_position_embeddings": sizes.positions,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "dtype": "float32",
    }


def _weights(sizes: Architecture, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    width, wide = sizes.hidden, sizes.feed_forward

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * (scale / math.sqrt(columns))

    # What is added to the residual stream starts small, less so in shallow models.
    small = 0.5 / math.sqrt(2 * sizes.layers)
    weights = {
        "model.embed_tokens.weight": matrix(
            sizes.vocabulary, width, _EMBEDDING_SPREAD * math.sqrt(width)
        ),
        "model.norm.weight": torch.ones(width),
    }
    for layer in range(sizes.layers):
        stem = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[f"{stem}self_attn.{name}.weight"] = matrix(width, width)
        weights[f"{stem}self_attn.o_proj.weight"] = matrix(width, width, small)
        weights[f"{stem}mlp.gate_proj.weight"] = matrix(wide, width)
        weights[f"{stem}mlp.up_proj.weight"] = matrix(wide, width)
        weights[f"{stem}mlp.down_proj.weight"] = matrix(width, wide, small)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{stem}{name}.weight"] = torch.ones(width)
    return weights
