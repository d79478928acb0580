"""Stock models and tokenizers, made and loaded by the library's own means."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.generic import TransformersKwargs

from memplus.backbone.access import check_supported
from memplus.backbone.decoder_config import check_sizes
from memplus.backbone.layouts import stock_config, weight_files, weight_shapes
from memplus.errors import (
    ConfigError,
    MemplusError,
    UnsupportedModelError,
    UsageError,
    WeightsError,
)

__all__ = [
    "default_new_tokens",
    "empty_model",
    "finish_model",
    "forward_arguments",
    "greedy_rules",
    "load_stock",
    "load_tokenizer",
    "refusals",
    "rules_of",
    "under_rules",
]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def load_tokenizer(path: Path, config: Any = None) -> PreTrainedTokenizerBase | None:
    """The directory's tokenizer, or None where it has none.

    Args:
        path: the directory.
        config: its decoder's config; read from the directory where it is not given.

    Raises:
        UnsupportedModelError: it needs code of its own, or the library cannot make it.
    """
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        return None
    config = stock_config(path) if config is None else config
    with refusals(path, "its tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            path, config=config, local_files_only=True, trust_remote_code=False
        )
    tokenizer.init_kwargs.pop("auto_map", None)  # it would be saved with the next model
    return tokenizer


def load_stock(
    path: Path, dtype: torch.dtype | None, device: torch.device | None = None
) -> PreTrainedModel:
    """A plain decoder of a directory, by the library's own loader.

    Args:
        path: the directory.
        dtype: None: the checkpoint's own.
        device: None: the CPU.

    Raises:
        MissingWeightsDirectory, UnknownModelError, NotADecoderError, UnsupportedModelError,
        ConfigError, WeightsError.
    """
    files = weight_files(path)
    config = stock_config(path)
    check_supported(config)
    check_sizes(config, weight_shapes(path, files), path)
    with refusals(path, "the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are named below
            dtype=dtype or "auto",
            output_loading_info=True,
        )
    model, report = loaded
    wrong = {
        name: f"expected {list(expected)}, found {list(found)}"
        for name, found, expected in report["mismatched_keys"]
    }
    if report["missing_keys"] or report["unexpected_keys"] or wrong:
        raise WeightsError(
            path,
            missing=list(report["missing_keys"]),
            unexpected=list(report["unexpected_keys"]),
            misshapen=wrong,
        )
    stock: PreTrainedModel = model if device is None else model.to(device)
    _check_rules(stock.generation_config, path)
    return stock


@contextlib.contextmanager
def refusals(path: Path, what: str) -> Iterator[None]:
    """Whatever a library raises about a foreign directory, under the directory's name."""
    try:
        yield
    except (MemplusError, MemoryError, torch.OutOfMemoryError):
        raise
    except SafetensorError as error:
        raise WeightsError(path, misshapen={"its files": str(error)}) from error
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        if "trust_remote_code" in words:
            words = "it needs code of its own (auto_map), which memplus never runs"
        reason = f"the library cannot make {what}: {words}"
        raise UnsupportedModelError(str(path), reason=reason) from error


def empty_model(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """A model of this config whose weights are still to come.

    Raises:
        UnsupportedModelError: the library cannot make it.
    """
    with refusals(Path(config.name_or_path), "the model"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=False
        )
    return model


def finish_model(model: PreTrainedModel, config: Any, path: Path, device: torch.device) -> None:
    """Give a model with its weights what no checkpoint holds, and its generation rules."""
    with refusals(path, "its positions"):
        _renew_rotary(model, config, device)
    if (path / "generation_config.json").is_file():
        with refusals(path, "its generation_config.json"):
            model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
    _check_rules(model.generation_config, path)
    model.eval()


def _check_rules(rules: GenerationConfig | None, path: Path) -> None:
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(rules, name, None)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(one) is int for one in ids):
            field = f"{path / 'generation_config.json'}: {name}"
            raise ConfigError(field, value=value, reason="it must be a token's id")


def _renew_rotary(model: PreTrainedModel, config: Any, device: torch.device) -> None:
    """Rotary frequencies are in no checkpoint: made anew, in float32 whatever the dtype."""
    decoder: Any = model.get_decoder()
    decoder.rotary_emb = type(decoder.rotary_emb)(config=config).to(device)
    _renew_scales(model, device)
    for name, buffer in model.named_buffers():
        if buffer.is_meta:
            raise WeightsError(config.name_or_path, missing=[name])


def _renew_scales(model: PreTrainedModel, device: torch.device) -> None:
    """The scale of Gemma's embedding is in no checkpoint either."""
    for module in model.modules():
        scale: Any = getattr(module, "scalar_embed_scale", None)
        if scale is not None:
            module.register_buffer(
                "embed_scale",
                torch.tensor(scale, dtype=torch.float32, device=device),
                persistent=False,
            )


def greedy_rules(config: GenerationConfig) -> GenerationConfig:
    """The checkpoint's special tokens without its sampling: answers are greedy by default."""
    pad = config.pad_token_id
    return GenerationConfig(
        do_sample=False,
        eos_token_id=config.eos_token_id,
        bos_token_id=config.bos_token_id,
        pad_token_id=_first(config.eos_token_id) if pad is None else pad,
    )


def under_rules(model: PreTrainedModel, rules: GenerationConfig) -> Any:
    """The same model, for one ``generate`` by these rules alone.

    The library fills fields that are left open from ``model.generation_config``, which all threads
    share; so the rules are put into another object with the same modules and weights.
    """
    same: Any = object.__new__(type(model))
    same.__dict__.update(model.__dict__)
    same.generation_config = rules
    return same


def rules_of(
    model: PreTrainedModel, given: GenerationConfig | None, options: dict[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """The rules of one generation, a copy, and the options that are no rules.

    Args:
        model: whose special tokens hold where no rules are given.
        given: rules to start from; None: greedy ones.
        options: fields of the rules by name, and other arguments of the stock ``generate``.

    Raises:
        UsageError: the library refuses a rule.
    """
    if given is not None and not isinstance(given, GenerationConfig):
        raise UsageError(
            f"generation_config must be a GenerationConfig, not {type(given).__name__}. "
            "Give single rules as arguments, such as max_new_tokens=20."
        )
    rules = greedy_rules(model.generation_config) if given is None else copy.deepcopy(given)
    try:
        rest: dict[str, Any] = rules.update(**options | {"disable_compile": True})
        rules.validate()
    except ValueError as error:
        raise UsageError(f"These generation rules cannot hold: {error}") from error
    return rules, rest


def default_new_tokens() -> int:
    """New tokens that the library generates where no rule says how many."""
    return int(GenerationConfig._get_default_generation_params()["max_length"])


def forward_arguments(model: PreTrainedModel) -> frozenset[str]:
    """Names of arguments that the model's forward pass reads."""
    return _arguments(type(model).forward)


@functools.cache
def _arguments(forward: Callable[..., Any]) -> frozenset[str]:
    named = frozenset(inspect.signature(forward).parameters) - {"self", "kwargs"}
    return named | TransformersKwargs.__optional_keys__ | {"return_dict"}


def _first(ids: int | list[int] | None) -> int:
    if isinstance(ids, list):
        return ids[0] if ids else 0
    return 0 if ids is None else ids
