"""Checkpoints on disk: the published layouts and our own, read into one form.

Names are compared both ways before anything is used: a missing, unexpected or misshapen weight
is an error that names it.

Shapes: L layers, N short-term rows, n stored rows, d hidden size, R retriever width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import LlamaConfig

from memplus.backbone.decoder_config import DTYPES, check_sizes, library_config
from memplus.backbone.references import BaseReference, parse_reference
from memplus.config import AdapterConfig, CounterEviction, MemoryConfig, PromptConfig
from memplus.errors import (
    ConfigError,
    MissingWeightsDirectory,
    UnknownModelError,
    UnsupportedModelError,
    WeightsError,
)

__all__ = [
    "ADAPTERS",
    "FORMAT",
    "OUR_CONFIG",
    "WHOLE",
    "Checkpoint",
    "Layout",
    "base_config",
    "is_memory_checkpoint",
    "read_checkpoint",
    "read_reference",
    "read_tensors",
    "stock_config",
    "weight_files",
    "weight_shapes",
]

OUR_CONFIG = "memplus.json"
FORMAT = 1
_PUBLISHED = ("MPlus", "MemoryLLM")
_OF_LONG_TERM = (
    "memplus.retriever.",
    "memplus.pristine.long",
    "memplus.span_weights",
    "memplus.superseding",
)
"""How the names of weights begin that a model without a long-term memory does not have."""


@dataclass(frozen=True)
class Layout:
    """Which files a directory keeps its weights in, and which weights must be among them."""

    stem: str = "model"
    """Beginning of the files' names: ``STEM.safetensors``, or shards and ``STEM...index.json``."""
    requires: Callable[[str], bool] = lambda name: True
    """Whether a weight of that name must be there."""


WHOLE = Layout()
"""Every weight of the model."""
ADAPTERS = Layout("adapters", requires=lambda n: "lora_" in n or n.startswith("memplus."))
"""A bundle: adapters and memory weights; the stock weights are those of its base."""


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
    layout: Layout = WHOLE
    base: BaseReference | None = None
    """Of a bundle: what it says of its base."""
    base_path: Path | None = None
    """Of a bundle: where the base lies."""


def is_memory_checkpoint(path: Path) -> bool:
    """Whether a directory holds a model with memory, ours or published."""
    if (path / OUR_CONFIG).is_file():
        return True
    raw = _read_json(path / "config.json")
    return "num_blocks" in raw and _published_kind(raw) is not None


def _published_kind(raw: Mapping[str, Any]) -> str | None:
    names = raw.get("architectures")
    known = [name for name in names if name in _PUBLISHED] if isinstance(names, list) else []
    return known[0] if known else None


def read_checkpoint(
    path: Path, retrieved_tokens: int | None = None, base_path: Path | None = None
) -> Checkpoint:
    """Read configs and weights of a directory.

    Args:
        path: the directory.
        retrieved_tokens: overrides the checkpoint's M; 0 leaves the long-term memory out.
        base_path: where the base of a bundle lies. Its weights are not read here.

    Raises:
        MissingWeightsDirectory, UnknownModelError, UnsupportedModelError, WeightsError.
        ConfigError: a field of one of its configs cannot hold what it holds.
    """
    files = weight_files(path, WHOLE if base_path is None else ADAPTERS)
    if (path / OUR_CONFIG).is_file():
        checkpoint = _ours(path, base_path)
    else:
        checkpoint = _published(path, _read_json(path / "config.json"))
    if retrieved_tokens is not None:
        checkpoint.memory = replace(checkpoint.memory, retrieved_tokens=retrieved_tokens)
    tensors = read_tensors(path, files)
    if base_path is None:
        check_sizes(checkpoint.config, {name: tuple(t.shape) for name, t in tensors.items()}, path)
    if checkpoint.published:
        tensors, checkpoint.memory = _renamed(tensors, checkpoint.memory)
    if not checkpoint.memory.has_long_term:
        tensors = {n: tensor for n, tensor in tensors.items() if not n.startswith(_OF_LONG_TERM)}
    checkpoint.tensors = tensors
    return checkpoint


def weight_files(path: Path, layout: Layout = WHOLE) -> list[Path]:
    """The safetensors files of a directory, in order of their names; no other kind is ever read.

    Raises:
        MissingWeightsDirectory: there are none, or an index names one that is not there.
        UnknownModelError: its index is damaged, or names a file outside of the directory.
        UnsupportedModelError: it holds an adapter over another model.
    """
    _refuse_adapter(path)
    whole = path / f"{layout.stem}.safetensors"
    index = path / f"{whole.name}.index.json"
    if index.is_file():
        files = [path / name for name in _shards(index)]
    else:
        files = [whole] if whole.is_file() else sorted(path.glob(f"{layout.stem}-*.safetensors"))
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        expected = ", ".join(file.name for file in missing) or whole.name
        raise MissingWeightsDirectory(path, expected=expected)
    return files


def _shards(index: Path) -> list[str]:
    shards = _read_json(index).get("weight_map")
    given = list(shards.values()) if isinstance(shards, dict) else []
    names = {name for name in given if isinstance(name, str) and Path(name).name == name}
    if not names or not all(isinstance(name, str) and name in names for name in given):
        reason = f"{index.name} does not name the files of its weights"
        raise UnknownModelError(str(index.parent), reason=reason)
    return sorted(names)


def _refuse_adapter(path: Path) -> None:
    """The library would follow an adapter to a model elsewhere, on the disk or on the hub."""
    if not (path / "adapter_config.json").is_file():
        return
    if not (path / "adapter_model.safetensors").is_file():
        raise MissingWeightsDirectory(path, expected="adapter_model.safetensors")
    reason = "it holds an adapter over another model; merge it into that model and save the result"
    raise UnsupportedModelError(str(path), reason=reason)


def weight_shapes(path: Path, files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights in these files, by name; only the files' headers are read.

    Raises:
        WeightsError: a file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as reader:
                for name in reader.keys():  # noqa: SIM118 (not a mapping)
                    shapes[name] = tuple(reader.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise WeightsError(path, misshapen={file.name: str(error)}) from error
    return shapes


def read_tensors(path: Path, files: Iterable[Path]) -> dict[str, Tensor]:
    """The weights in these files, by name, in the dtypes in which they are stored.

    Raises:
        WeightsError: a file is damaged.
    """
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
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownModelError(str(path.parent), reason=f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise UnknownModelError(str(path.parent), reason=f"{path.name} is not an object")
    return value


def stock_config(path: Path) -> Any:
    """The library's own config of a directory.

    Raises:
        MissingWeightsDirectory: it is missing.
        UnknownModelError: it is damaged, or of no model that the library knows.
        ConfigError, UnsupportedModelError: see ``decoder_config``.
    """
    return library_config(_read_json(path / "config.json"), path)


def base_config(path: Path) -> Any:
    """The library's own config of a directory with every stock weight, with or without a memory.

    Raises:
        MissingWeightsDirectory, UnknownModelError, ConfigError, UnsupportedModelError: see
            ``stock_config``.
    """
    if (path / OUR_CONFIG).is_file() or not is_memory_checkpoint(path):
        return stock_config(path)
    return _published(path, _read_json(path / "config.json")).config


def read_reference(path: Path) -> BaseReference | None:
    """What a bundle says of its base; None: the directory is none of a bundle.

    Raises:
        UnknownModelError: its config is damaged.
        UnsupportedModelError: another release wrote it, in another format.
        ConfigError: a field of it cannot hold what it holds.
    """
    if not (path / OUR_CONFIG).is_file():
        return None
    whole = _read_json(path / OUR_CONFIG)
    _check_format(path, whole)
    raw = whole.get("base")
    return None if raw is None else parse_reference(path / OUR_CONFIG, raw)


def _check_format(path: Path, raw: Mapping[str, Any]) -> None:
    if raw.get("format") != FORMAT:
        reason = f"its format is {raw.get('format')!r}; this release reads {FORMAT}"
        raise UnsupportedModelError(str(path), reason=reason)


def _ours(path: Path, base_path: Path | None) -> Checkpoint:
    raw = _read_json(path / OUR_CONFIG)
    _check_format(path, raw)
    try:
        memory = MemoryConfig.from_dict(raw.get("memory"))
        prompt = PromptConfig.from_dict(raw.get("prompt", {}))
    except ConfigError as error:
        field = f"{path / OUR_CONFIG}: {error.fields['field']}"
        value, reason = error.fields["value"], str(error.fields["reason"])
        raise ConfigError(field, value=value, reason=reason) from error
    if base_path is None:
        return Checkpoint(path, stock_config(path), memory, prompt)
    config = base_config(base_path)
    dtype = raw.get("dtype")
    if dtype not in DTYPES:
        reason = f"it must be one of {', '.join(DTYPES)}"
        raise ConfigError(f"{path / OUR_CONFIG}: dtype", value=dtype, reason=reason)
    config.dtype = getattr(torch, dtype)
    reference = parse_reference(path / OUR_CONFIG, raw.get("base"))
    return Checkpoint(
        path, config, memory, prompt, layout=ADAPTERS, base=reference, base_path=base_path
    )


def _published(path: Path, raw: dict[str, Any]) -> Checkpoint:
    kind = _published_kind(raw)
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
    config = library_config(values | {"model_type": "llama"}, path)
    memory = _published_memory(kind, _Published(path, raw))
    return Checkpoint(path, config, memory, PromptConfig(), published=True)


@dataclass(frozen=True)
class _Published:
    """Numbers of a published config, each checked by name."""

    path: Path
    values: Mapping[str, Any]

    def number(self, name: str, default: int | None = None) -> int | float:
        value = self.values.get(name)
        value = default if value is None else value
        if isinstance(value, int | float) and type(value) is not bool and abs(value) < _MOST:
            return value
        field = f"{self.path / 'config.json'}: {name}"
        raise ConfigError(field, value=value, reason="it must be a number of sensible size")

    def whole(self, name: str, default: int | None = None) -> int:
        return int(self.number(name, default))

    def flag(self, name: str) -> bool:
        return bool(self.values.get(name, False))


_MOST = 10**9


def _published_memory(kind: str, raw: _Published) -> MemoryConfig:
    rows = raw.whole("num_tokens")
    long_blocks = raw.whole("num_ltm_blocks", 0) if kind == "MPlus" else 0
    eviction: dict[str, Any] = {}
    if long_blocks:
        eviction["eviction"] = CounterEviction(
            every=raw.whole("update_ltm_frequency"),
            initial=float(raw.number("initial_rf_when_moving_stm_to_ltm")),
            decay=float(raw.number("decay_frequency")),
        )
    return MemoryConfig(
        short_term_tokens=(raw.whole("num_blocks") - long_blocks) * rows,
        retrieved_tokens=long_blocks * rows,
        tokens_per_write=rows,
        retriever_dim=raw.whole("selector_hidden_dim", 64) or 64,
        retriever_layers=raw.whole("num_selector_layers", 2) or 2,
        bos=raw.flag("add_bos_embedding"),
        adapters=_published_adapters(raw),
        drop="per_layer" if raw.flag("drop_memory_per_layer") else "shared",
        **eviction,
    )


def _published_adapters(raw: _Published) -> AdapterConfig | None:
    given = raw.values.get("lora_config")
    if not given:
        return None
    if not isinstance(given, Mapping):
        field = f"{raw.path / 'config.json'}: lora_config"
        raise ConfigError(field, value=given, reason="it must be an object with named fields")
    lora = _Published(raw.path, given)
    targets = given.get("target_modules")
    return AdapterConfig(
        rank=lora.whole("r"),
        alpha=lora.whole("lora_alpha"),
        dropout=float(lora.number("lora_dropout", 0)),
        targets=tuple(targets) if isinstance(targets, list) else (),
        reading=raw.flag("add_decoder_lora"),
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
