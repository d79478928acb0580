"""What the slow reference needs to know of a checkpoint's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class ReferenceConfig:
    """Numbers of the decoder and of the memory, under the paper's letters where it has any."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    rope_theta: float
    rope_scaling: Mapping[str, Any] | None
    K: int
    """Rows per write."""
    N: int
    """Short-term rows per layer."""
    M: int
    """Retrieved rows per layer; 0 is MemoryLLM."""
    bos: bool
    lora_scale: float | None
    """alpha / r; None without adapters."""
    read_adapter: str | None
    """The adapter that is active while reading."""
    write_adapter: str | None
    tiled: bool
    """The pool is uninitialised: the first write fills it by tiling."""
    eviction: Literal["none", "counter", "oldest"] = "none"
    merge_every: int = 1
    first_counter: float = 0.0
    decay: float = 0.0
    max_rows: int = 0
    """Of ``oldest`` eviction."""

    @classmethod
    def from_published(cls, raw: Mapping[str, Any], *, initialized: bool = True) -> ReferenceConfig:
        """Read the published config.json."""
        ltm_blocks = int(raw.get("num_ltm_blocks", 0))
        lora = raw.get("lora_config")
        write_adapter = "default" if lora else None
        return cls(
            layers=raw["num_hidden_layers"],
            hidden=raw["hidden_size"],
            heads=raw["num_attention_heads"],
            kv_heads=raw["num_key_value_heads"],
            head_dim=raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"],
            eps=raw["rms_norm_eps"],
            rope_theta=raw["rope_theta"],
            rope_scaling=raw.get("rope_scaling"),
            K=raw["num_tokens"],
            N=(raw["num_blocks"] - ltm_blocks) * raw["num_tokens"],
            M=ltm_blocks * raw["num_tokens"],
            bos=raw["add_bos_embedding"],
            lora_scale=lora["lora_alpha"] / lora["r"] if lora else None,
            read_adapter="decoder_adapter" if raw.get("add_decoder_lora") else write_adapter,
            write_adapter=write_adapter,
            tiled=not initialized,
            eviction="counter" if ltm_blocks else "none",
            merge_every=raw.get("update_ltm_frequency", 1),
            first_counter=raw.get("initial_rf_when_moving_stm_to_ltm", 0),
            decay=raw.get("decay_frequency", 0),
        )
