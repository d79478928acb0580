"""Checkpoints on disk: the published layouts and our own, read into one form.

Names are compared both ways before anything is used: a missing, unexpected or misshapen weight
is an error that names it.

Shapes: L layers, N short-term rows, n stored rows, d hidden size, R retriever width.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, LlamaConfig

from memplus.config import AdapterConfig, CounterEviction, MemoryConfig, PromptConfig
from memplus.errors import (
    ConfigError,
    MissingWeightsDirectory,
    UnknownModelError,
    UnsupportedModelError,
    WeightsError,
)

__all__ = [
    "FORMAT",
    "OUR_CONFIG",
    "Checkpoint",
    "is_memory_checkpoint",
    "read_checkpoint",
    "stock_config",
]

OUR_CONFIG = "memplus.json"
FORMAT = 1
_PUBLISHED = ("MPlus", "MemoryLLM")


@dataclass
class Checkpoint:
    """A checkpoint, whatever its layout was."""

    path: Path
    config: Any
    """The decoder's config."""
    memory: MemoryConfig
    prompt: PromptConfig
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Decoder weights under the stock names; ours begin with ``memplus.``:
    ``bos_embedding``, ``memory_embedding``, ``retriever.l.*``, ``pristine.*``, ``kept.*``."""
    published: bool = False
    """Whether the layout is the published one, which always carries its rows."""


def is_memory_checkpoint(path: Path) -> bool:
    """Whether a directory holds a model with memory, ours or published."""
    if (path / OUR_CONFIG).is_file():
        return True
    raw = _read_json(path / "config.json")
    return "num_blocks" in raw and bool(set(raw.get("architectures") or ()) & set(_PUBLISHED))


def read_checkpoint(path: Path, retrieved_tokens: int | None = None) -> Checkpoint:
    """Read configs and weights of a directory.

    Args:
        path: the directory.
        retrieved_tokens: overrides the checkpoint's M; 0 leaves the long-term memory out.

    Raises:
        MissingWeightsDirectory, UnknownModelError, UnsupportedModelError, WeightsError.
    """
    files = weight_files(path)
    if (path / OUR_CONFIG).is_file():
        checkpoint = _ours(path)
    else:
        checkpoint = _published(path, _read_json(path / "config.json"))
    if retrieved_tokens is not None:
        checkpoint.memory = replace(checkpoint.memory, retrieved_tokens=retrieved_tokens)
    tensors = _read_tensors(path, files)
    if checkpoint.published:
        tensors, checkpoint.memory = _renamed(tensors, checkpoint.memory)
    if not checkpoint.memory.has_long_term:
        off = [n for n in tensors if n.startswith(("memplus.retriever.", "memplus.pristine.long"))]
        tensors = {name: tensor for name, tensor in tensors.items() if name not in set(off)}
    checkpoint.tensors = tensors
    return checkpoint


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a directory, in order of their names.

    Raises:
        MissingWeightsDirectory: there are none, or an index names one that is not there.
    """
    index = path / "model.safetensors.index.json"
    if index.is_file():
        files = [path / name for name in sorted(set(_read_json(index)["weight_map"].values()))]
    else:
        whole = path / "model.safetensors"
        files = [whole] if whole.is_file() else sorted(path.glob("model-*.safetensors"))
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        expected = ", ".join(file.name for file in missing) or "model.safetensors"
        raise MissingWeightsDirectory(path, expected=expected)
    return files


def _read_tensors(path: Path, files: Iterable[Path]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as reader:
                for name in reader.keys():  # noqa: SIM118 (not a mapping)
                    tensors[name] = reader.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise WeightsError(path, misshapen={file.name: str(error)}) from error
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingWeightsDirectory(path.parent, expected=path.name) from error
    except (OSError, ValueError) as error:
        raise UnknownModelError(str(path.parent), reason=f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise UnknownModelError(str(path.parent), reason=f"{path.name} is not an object")
    return value


def stock_config(path: Path) -> Any:
    """The library's own config of a directory.

    Raises:
        UnknownModelError: it is missing, damaged, or of no model that the library knows.
    """
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UnknownModelError(str(path), reason=str(error).splitlines()[0]) from error


def _ours(path: Path) -> Checkpoint:
    raw = _read_json(path / OUR_CONFIG)
    if raw.get("format") != FORMAT:
        reason = f"its format is {raw.get('format')!r}; this release reads {FORMAT}"
        raise UnsupportedModelError(str(path), reason=reason)
    try:
        memory = MemoryConfig.from_dict(raw.get("memory"))
        prompt = PromptConfig.from_dict(raw.get("prompt", {}))
    except ConfigError as error:
        field = f"{path / OUR_CONFIG}: {error.fields['field']}"
        value, reason = error.fields["value"], str(error.fields["reason"])
        raise ConfigError(field, value=value, reason=reason) from error
    return Checkpoint(path, stock_config(path), memory, prompt)


def _published(path: Path, raw: dict[str, Any]) -> Checkpoint:
    kind = next((name for name in raw.get("architectures") or () if name in _PUBLISHED), None)
    if kind is None or "num_blocks" not in raw:
        reason = "it holds no memory; give it one with MPlus.from_backbone"
        raise UnsupportedModelError(str(path), reason=reason)
    if "memoryllm-7b" in f"{path} {raw.get('_name_or_path', '')}".lower():
        reason = "memoryllm-7b follows other position rules than the later checkpoints"
        raise UnsupportedModelError("memoryllm-7b", reason=reason)
    known = set(LlamaConfig().to_dict())
    values = {name: value for name, value in raw.items() if name in known}
    for name in ("rope_scaling", "rope_theta", "torch_dtype"):
        if raw.get(name) is not None:
            values[name] = raw[name]
    values["model_type"] = "llama"
    config = LlamaConfig(**values)
    memory = _published_memory(kind, raw)
    return Checkpoint(path, config, memory, PromptConfig(), published=True)


def _published_memory(kind: str, raw: dict[str, Any]) -> MemoryConfig:
    rows = int(raw["num_tokens"])
    long_blocks = int(raw.get("num_ltm_blocks") or 0) if kind == "MPlus" else 0
    eviction: dict[str, Any] = {}
    if long_blocks:
        eviction["eviction"] = CounterEviction(
            every=int(raw["update_ltm_frequency"]),
            initial=float(raw["initial_rf_when_moving_stm_to_ltm"]),
            decay=float(raw["decay_frequency"]),
        )
    lora = raw.get("lora_config")
    adapters = None
    if lora:
        adapters = AdapterConfig(
            rank=int(lora["r"]),
            alpha=int(lora["lora_alpha"]),
            dropout=float(lora.get("lora_dropout", 0.0)),
            targets=tuple(lora["target_modules"]),
            reading=bool(raw.get("add_decoder_lora", False)),
        )
    return MemoryConfig(
        short_term_tokens=(int(raw["num_blocks"]) - long_blocks) * rows,
        retrieved_tokens=long_blocks * rows,
        tokens_per_write=rows,
        retriever_dim=int(raw.get("selector_hidden_dim") or 64),
        retriever_layers=int(raw.get("num_selector_layers") or 2),
        bos=bool(raw.get("add_bos_embedding", False)),
        adapters=adapters,
        drop="per_layer" if raw.get("drop_memory_per_layer", False) else "shared",
        **eviction,
    )


_RENAMED = {
    "bos_embedding": "memplus.bos_embedding",
    "new_memory_positional_emb": "memplus.memory_embedding",
    "memory": "memplus.pristine.short_term",
}
_STORE = {
    "ltm": "memplus.pristine.long_term",
    "ltm_keys": "memplus.pristine.long_term_keys",
    "ltm_ages": "memplus.pristine.long_term_ages",
    "ltm_recall_frequencies": "memplus.pristine.long_term_counters",
}


def _renamed(
    tensors: dict[str, Tensor], config: MemoryConfig
) -> tuple[dict[str, Tensor], MemoryConfig]:
    """Published names -> ours; an uninitialised MemoryLLM starts empty and tiles itself full."""
    renamed: dict[str, Tensor] = {}
    tiled = "initialized" in tensors and int(tensors["initialized"]) == 0
    for name, tensor in tensors.items():
        stem, _, rest = name.partition(".")
        if name == "initialized" or (tiled and name == "memory"):
            continue
        if name in _RENAMED:
            renamed[_RENAMED[name]] = tensor
        elif stem in _STORE and rest.isdigit():
            renamed[f"{_STORE[stem]}.{rest}"] = tensor
        elif ".encoder_query_proj." in name:
            renamed[f"memplus.kept.{name}"] = tensor
        elif ".self_attn.query_proj." in name or ".self_attn.key_proj." in name:
            layer = name.split(".")[2]
            renamed[f"memplus.retriever.{layer}.{name.partition('.self_attn.')[2]}"] = tensor
        else:
            renamed[name] = tensor
    return renamed, replace(config, first_write="tile") if tiled else config
