"""``config.json`` is foreign text: what is absurd in it is refused by name, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import CONFIG, CONFIGS, make_model, make_mplus

from memplus import MPlus
from memplus.backbone.decoder_config import check_fields, check_sizes, library_config
from memplus.backbone.layouts import weight_files, weight_shapes
from memplus.errors import ConfigError, MemplusError, UnknownModelError, UnsupportedModelError

Load = Callable[[Path], MPlus]


@pytest.fixture(scope="module", params=["ours", "stock"])
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A directory of each layout, and how it is loaded."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "ours":
        make_mplus().save_pretrained(folder)
        return folder, MPlus.from_pretrained
    make_model().save_pretrained(folder)
    return folder, lambda path: MPlus.from_backbone(path, CONFIG)


def refused(kind: tuple[Path, Load], changes: dict[str, Any]) -> MemplusError:
    """The error of loading the directory with these fields changed; within a second."""
    folder, load = kind
    file = folder / "config.json"
    text = file.read_text()
    file.write_text(json.dumps(json.loads(text) | changes))
    started = time.monotonic()
    try:
        with pytest.raises(MemplusError) as caught:
            load(folder)
    finally:
        file.write_text(text)
    assert time.monotonic() - started < 1
    return caught.value


DEFAULT = {"rope_type": "default", "rope_theta": 1e4}
BAD: list[tuple[str, Any]] = [
    ("num_attention_heads", 0),
    ("num_attention_heads", 10**6),
    ("num_key_value_heads", 0),
    ("num_key_value_heads", 3),
    ("num_hidden_layers", 10_000_000),
    ("num_hidden_layers", 5000),
    ("num_hidden_layers", 0),
    ("num_hidden_layers", "4"),
    ("num_hidden_layers", True),
    ("vocab_size", 10**12),
    ("vocab_size", 10**8),
    ("vocab_size", -1),
    ("vocab_size", None),
    ("hidden_size", 10**9),
    ("hidden_size", 10**6),
    ("hidden_size", 32.5),
    ("intermediate_size", 10**12),
    ("intermediate_size", 10**7),
    ("head_dim", 10**6),
    ("head_dim", -8),
    ("max_position_embeddings", 0),
    ("max_position_embeddings", "many"),
    ("max_position_embeddings", 10**30),
    ("rms_norm_eps", float("nan")),
    ("rms_norm_eps", "small"),
    ("hidden_act", "nonsense"),
    ("hidden_act", 5),
    ("dtype", "float9"),
    ("dtype", 5),
    ("dtype", "int8"),
    ("torch_dtype", "complex64"),
    ("pad_token_id", 10**12),
    ("pad_token_id", -7),
    ("pad_token_id", "x"),
    ("sliding_window", "x"),
    ("layer_types", 5),
    ("layer_types", ["full_attention"]),
    ("rope_parameters", 5),
    ("rope_parameters", [1]),
    ("rope_parameters.rope_type", {"rope_type": "spiral", "rope_theta": 1e4}),
    ("rope_parameters.rope_type", {"rope_type": ["linear"], "rope_theta": 1e4}),
    ("rope_parameters.rope_theta", {"rope_type": "default", "rope_theta": "x"}),
    ("rope_parameters.rope_theta", {"rope_type": "default", "rope_theta": 0}),
    ("rope_parameters.factor", DEFAULT | {"rope_type": "linear", "factor": float("inf")}),
    ("rope_parameters.factor", DEFAULT | {"rope_type": "linear", "factor": "4"}),
    ("rope_parameters.full.rope_theta", {"full": {"rope_theta": -1}}),
    ("text_config", {"hidden_size": 32}),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_an_absurd_value_is_refused_by_its_fields_name(kind: Any, field: str, value: Any) -> None:
    error = refused(kind, {field.partition(".")[0]: value})
    assert isinstance(error, ConfigError)
    assert str(error.fields["field"]).endswith(f"config.json: {field}")
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bits"),
        ({"quantization_config": 5}, "quantised"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "flash-attn"),
        ({"attn_implementation": "flash_attention_2"}, "flash_attention_2"),
        ({"attn_implementation": ["sdpa"]}, "sdpa"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "factor"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"eos_token_id": "x"}, "eos_token_id"),
        ({"layer_types": ["odd"] * 4}, "layer_types"),
    ],
)
def test_what_a_library_would_import_or_refuse_is_refused_first(
    kind: Any, changes: dict[str, Any], word: str
) -> None:
    error = refused(kind, changes)
    assert isinstance(error, UnsupportedModelError)
    assert word in error.message


@pytest.mark.parametrize("model_type", [None, 5, "odd", ["llama"]])
def test_a_model_type_that_nobody_knows_is_named(kind: Any, model_type: Any) -> None:
    error = refused(kind, {"model_type": model_type})
    assert isinstance(error, UnknownModelError)
    assert repr(model_type) in error.message or str(model_type) in error.message


def test_a_long_value_is_not_repeated_in_full(kind: Any) -> None:
    error = refused(kind, {"hidden_act": "x" * 100_000})
    assert len(str(error)) < 1000


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configs_of_every_family_pass(name: str, tmp_path: Path) -> None:
    model = make_model(name, attention="eager" if name.startswith("gemma2") else "sdpa")
    model.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    check_fields(raw, tmp_path)
    config = library_config(raw, tmp_path)
    assert type(config) is type(model.config)
    ours = config.to_dict()
    kept = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    assert {key: ours[key] for key in kept if key not in ("architectures", "dtype")} == {
        key: value for key, value in kept.items() if key not in ("architectures", "dtype")
    }
    check_sizes(config, weight_shapes(tmp_path, weight_files(tmp_path)), tmp_path)


def test_a_config_a_little_larger_than_its_weights_is_left_to_the_naming_of_weights(
    tmp_path: Path,
) -> None:
    make_model().save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 6}
    shapes = weight_shapes(tmp_path, weight_files(tmp_path))
    check_sizes(library_config(raw, tmp_path), shapes, tmp_path)
