"""A decoder's ``config.json``: foreign text, checked before a library acts on it.

What it would make a library run, fetch or import is refused or left out; numbers that are of the
wrong kind, out of bounds, or far beyond the weights beside it are errors that name the field.

Shapes: D head width, H heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from memplus.backbone.families import FAMILIES
from memplus.errors import ConfigError, UnknownModelError, UnsupportedModelError
from memplus.errors.base import shortened

__all__ = ["DTYPES", "check_fields", "check_sizes", "library_config"]

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Names of the dtypes that weights may be computed in."""

# Field -> the least and the most it may be; far beyond every published model, and small enough to
# be compared with the weights before anything is built.
_WHOLE: dict[str, tuple[int, int]] = {
    "vocab_size": (1, 10**8),
    "hidden_size": (1, 10**6),
    "intermediate_size": (1, 10**7),
    "num_hidden_layers": (1, 10**4),
    "num_attention_heads": (1, 10**5),
    "max_position_embeddings": (1, 10**9),
}
# These may also be null, or absent: the library derives them.
_WHOLE_OR_NULL: dict[str, tuple[int, int]] = {
    "num_key_value_heads": (1, 10**5),
    "head_dim": (1, 10**6),
    "sliding_window": (1, 10**9),
    "original_max_position_embeddings": (1, 10**9),
}
_POSITIVE = ("rms_norm_eps", "layer_norm_eps", "rope_theta", "rotary_emb_base")
_ACTIVATIONS = ("hidden_act", "hidden_activation")
_ROPES = ("rope_parameters", "rope_scaling")
_ROPE_NUMBERS = (
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
)
_ATTENTION = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
_ELSEWHERE = ("auto_map", "configuration_files")
# Configs differ from their weights by mistake, and those mistakes are named weight by weight; a
# config that asks for several times what there is, is not compared at all.
_TIMES, _SLACK = 4, 1 << 20


def check_fields(raw: Mapping[str, Any], source: Path) -> None:
    """Refuse what a library must not act on.

    Args:
        raw: the parsed file.
        source: the directory, for messages.

    Raises:
        ConfigError: a field has the wrong kind, or is out of bounds.
        UnsupportedModelError: it asks for quantised weights, or for another attention function.
    """
    for name, (least, most) in (_WHOLE | _WHOLE_OR_NULL).items():
        if name in raw and not (raw[name] is None and name in _WHOLE_OR_NULL):
            _check_whole(source, name, raw[name], least, most)
    for name in _POSITIVE:
        if name in raw:
            _check_positive(source, name, raw[name])
    for name in _ACTIVATIONS:
        if raw.get(name) is not None and not _is_one_of(raw[name], ACT2FN):
            _refuse(source, name, raw[name], "there is no such activation")
    for name in _ROPES:
        if raw.get(name) is not None:
            _check_rope(source, name, raw[name])
    for name in ("dtype", "torch_dtype"):
        value = raw.get(name)
        if value is not None and not _is_one_of(value, (*DTYPES, *(f"torch.{d}" for d in DTYPES))):
            _refuse(source, name, value, f"it must be one of {', '.join(DTYPES)}")
    _check_heads(raw, source)
    _check_ids(raw, source)
    _check_forms(raw, source)


def _check_heads(raw: Mapping[str, Any], source: Path) -> None:
    heads, groups = raw.get("num_attention_heads"), raw.get("num_key_value_heads")
    if heads and groups and heads % groups:
        _refuse(source, "num_key_value_heads", groups, f"{heads} heads are no multiple of it")
    width = raw.get("hidden_size")
    if heads and width and raw.get("head_dim") is None and width % heads:
        _refuse(source, "num_attention_heads", heads, f"hidden_size {width} is no multiple of it")


def _check_ids(raw: Mapping[str, Any], source: Path) -> None:
    pad, size = raw.get("pad_token_id"), raw.get("vocab_size")
    if pad is not None and size is not None:
        _check_whole(source, "pad_token_id", pad, -1, size - 1)
    kinds = raw.get("layer_types")
    layers = raw.get("num_hidden_layers")
    if kinds is not None and not (isinstance(kinds, list) and layers in (None, len(kinds))):
        _refuse(source, "layer_types", kinds, f"it must name the kind of each of {layers} layers")


def _check_forms(raw: Mapping[str, Any], source: Path) -> None:
    for name in _ATTENTION:
        if raw.get(name) not in (None, "sdpa", "eager"):
            asked = shortened(raw[name])
            reason = f"its config asks for the attention {asked}, which cannot take a memory"
            raise UnsupportedModelError(str(source), reason=reason)
    for name in ("text_config", "vision_config", "audio_config"):
        if raw.get(name) is not None:
            _refuse(source, name, raw[name], "a language model alone has no such part")
    given = raw.get("quantization_config")
    if given is not None:
        method = given.get("quant_method") if isinstance(given, Mapping) else given
        reason = f"its weights are quantised ({shortened(method)}); use the unquantised ones"
        raise UnsupportedModelError(str(source), reason=reason)


def _check_rope(source: Path, name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        _refuse(source, name, value, "it must be an object with named fields")
    nested = {key: one for key, one in value.items() if isinstance(one, Mapping)}
    for key, one in nested.items():
        _check_rope(source, f"{name}.{key}", one)
    for key in ("rope_type", "type"):
        kind = value.get(key)
        if kind is not None and not _is_one_of(kind, ("default", *ROPE_INIT_FUNCTIONS)):
            _refuse(source, f"{name}.{key}", kind, "there are no such positions")
    for key in _ROPE_NUMBERS:
        if value.get(key) is not None:
            _check_positive(source, f"{name}.{key}", value[key])


def _check_whole(source: Path, name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int:
        _refuse(source, name, value, "it must be a whole number")
    if not least <= value <= most:
        _refuse(source, name, value, f"it must be {least} to {most}")


def _check_positive(source: Path, name: str, value: Any) -> None:
    # Bounded, so that a number of a thousand digits is refused and not made a float.
    if type(value) not in (int, float) or not 0 < value < 1e30:
        _refuse(source, name, value, "it must be a finite number above 0")


def _is_one_of(value: Any, known: Any) -> bool:
    return isinstance(value, str) and value in known


def _refuse(source: Path, name: str, value: Any, reason: str) -> NoReturn:
    raise ConfigError(f"{source / 'config.json'}: {name}", value=value, reason=reason)


def check_sizes(config: Any, shapes: Mapping[str, Sequence[int]], source: Path) -> None:
    """Refuse sizes that are several times those of the weights, before anything is built.

    Args:
        config: the library's config.
        shapes: of every weight of the directory, by name.
        source: the directory, for messages.

    Raises:
        ConfigError: names the field, and what the weights are like.
    """
    held = sum(math.prod(shape) for shape in shapes.values())
    layers = len({found[1] for name in shapes if (found := re.search(r"layers\.(\d+)\.", name))})
    if config.num_hidden_layers > _TIMES * layers + 64:
        asked = config.num_hidden_layers
        _refuse(source, "num_hidden_layers", asked, f"the weights are those of {layers} layers")
    needed = _numbers(config)
    if needed <= _TIMES * held + _SLACK:
        return
    widths = {width for shape in shapes.values() for width in shape}
    sizes = {name: getattr(config, name, None) or 0 for name in _WIDTHS}
    strange = {name: size for name, size in sizes.items() if size not in widths}
    name = max(strange, key=lambda one: strange[one]) if any(strange.values()) else _WIDTHS[-1]
    reason = f"a model of that size has {needed:,} numbers, and the weights hold {held:,}"
    _refuse(source, name, sizes[name], reason)


_WIDTHS = ("vocab_size", "hidden_size", "intermediate_size", "head_dim", "num_attention_heads")


def _numbers(config: Any) -> int:
    """Roughly how many weights a decoder has."""
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    heads = int(config.num_attention_heads)
    head_dim = int(getattr(config, "head_dim", None) or width // heads)
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    layer = 2 * width * (int(config.intermediate_size) + head_dim * (heads + groups))
    return int(config.vocab_size) * width + layers * layer


def library_config(raw: Mapping[str, Any], source: Path) -> Any:
    """The library's own config of a checked ``config.json``; nothing of the directory runs.

    Made from the values alone: the library's loader would follow ``auto_map`` to code, and
    ``configuration_files`` to other files.

    Raises:
        ConfigError, UnsupportedModelError: see ``check_fields``; or the library refuses a value.
        UnknownModelError: it is of no model that the library knows.
    """
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        if raw.get("auto_map"):
            reason = "its config needs code of its own (auto_map), which memplus never runs"
            raise UnsupportedModelError(str(source), reason=reason)
        reason = f"config.json names the model type {shortened(kind)}, which the library lacks"
        raise UnknownModelError(str(source), reason=reason)
    if kind in FAMILIES:
        check_fields(raw, source)
    values = {name: value for name, value in raw.items() if name not in _ELSEWHERE}
    try:
        config = CONFIG_MAPPING[kind].from_dict(values)
    except Exception as error:  # whatever the library raises, this config is not usable
        reason = f"the library refuses its config.json: {' '.join(str(error).split())}"
        raise UnsupportedModelError(str(source), reason=reason) from error
    config.name_or_path = str(source)
    return config
