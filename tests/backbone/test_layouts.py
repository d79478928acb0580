"""Layouts on disk: which files hold the weights, and what their configs may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.fakes import make_mplus

from memplus.backbone.layouts import (
    WHOLE,
    Layout,
    is_memory_checkpoint,
    read_checkpoint,
    weight_files,
    weight_shapes,
)
from memplus.config import AdapterConfig, CounterEviction
from memplus.errors import (
    ConfigError,
    MissingWeightsDirectory,
    UnknownModelError,
    UnsupportedModelError,
    WeightsError,
)

PUBLISHED: dict[str, Any] = {
    "architectures": ["MPlus"],
    "model_type": "llama",
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "num_blocks": 5,
    "num_tokens": 4,
    "num_ltm_blocks": 2,
    "update_ltm_frequency": 3,
    "initial_rf_when_moving_stm_to_ltm": 7,
    "decay_frequency": 1,
    "selector_hidden_dim": 6,
    "add_bos_embedding": True,
    "add_decoder_lora": True,
    "lora_config": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]},
}


def directory(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    weights = {f"model.layers.{layer}.mlp.up_proj.weight": torch.zeros(12, 8) for layer in range(2)}
    save_file(weights, path / "model.safetensors")
    return path


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    make_mplus().save_pretrained(tmp_path / "ours")
    return tmp_path / "ours"


def test_a_published_config_becomes_ours(tmp_path: Path) -> None:
    memory = read_checkpoint(directory(tmp_path / "m", PUBLISHED)).memory
    assert (memory.short_term_tokens, memory.retrieved_tokens) == (12, 8)
    assert memory.tokens_per_write == 4
    assert memory.eviction == CounterEviction(every=3, initial=7.0, decay=1.0)
    assert memory.adapters == AdapterConfig(rank=2, alpha=4, targets=("q_proj", "v_proj"))
    assert (memory.retriever_dim, memory.bos, memory.drop) == (6, True, "shared")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("num_tokens", {"num_tokens": "4"}),
        ("num_tokens", {"num_tokens": None}),
        ("num_blocks", {"num_blocks": True}),
        ("num_blocks", {"num_blocks": 10**12}),
        ("num_ltm_blocks", {"num_ltm_blocks": [2]}),
        ("short_term_tokens", {"num_ltm_blocks": 9}),
        ("update_ltm_frequency", {"update_ltm_frequency": None}),
        ("decay_frequency", {"decay_frequency": float("nan")}),
        ("selector_hidden_dim", {"selector_hidden_dim": "x"}),
        ("lora_config", {"lora_config": "q_proj"}),
        ("r", {"lora_config": {"lora_alpha": 4, "target_modules": ["q_proj"]}}),
        ("adapters.targets", {"lora_config": {"r": 2, "lora_alpha": 4, "target_modules": "all"}}),
        ("num_attention_heads", {"num_attention_heads": 0}),
    ],
)
def test_a_published_config_is_checked_by_name(
    tmp_path: Path, field: str, change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_checkpoint(directory(tmp_path / "m", PUBLISHED | change))
    assert str(caught.value.fields["field"]).endswith(field)


@pytest.mark.parametrize("names", [5, [5], None, "MPlus", {"a": 1}])
def test_architectures_of_any_kind_are_read(tmp_path: Path, names: Any) -> None:
    path = directory(tmp_path / "m", PUBLISHED | {"architectures": names})
    assert not is_memory_checkpoint(path)
    with pytest.raises(UnsupportedModelError, match="it holds no memory"):
        read_checkpoint(path)


BAD_OURS: list[tuple[str, Any]] = [
    ("memory.short_term_tokens", "32"),
    ("memory.bos", 1),
    ("memory", None),
    ("memory", []),
    ("prompt.stop", [""]),
    ("prompt.stop", 5),
    ("prompt.max_new_tokens", "a"),
    ("prompt.colour", "red"),
    ("prompt", 5),
]


@pytest.mark.parametrize(("field", "value"), BAD_OURS)
def test_our_own_config_is_checked_by_name(ours: Path, field: str, value: Any) -> None:
    file = ours / "memplus.json"
    content = json.loads(file.read_text())
    part, _, name = field.partition(".")
    if name:
        content[part][name] = value
    else:
        content[part] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"memplus\.json: ") as caught:
        read_checkpoint(ours)
    expected = "the config" if field == "memory" else field.removeprefix("memory.")
    assert str(caught.value.fields["field"]).endswith(f"memplus.json: {expected}")


def test_deep_nesting_is_a_named_error(ours: Path) -> None:
    (ours / "memplus.json").write_text("[" * 200_000)
    with pytest.raises(UnknownModelError, match=r"memplus\.json"):
        read_checkpoint(ours)


def test_only_headers_are_read_for_shapes(ours: Path) -> None:
    shapes = weight_shapes(ours, weight_files(ours))
    tensors = read_checkpoint(ours).tensors
    assert shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    (ours / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        weight_shapes(ours, weight_files(ours))


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": {"a": 5}},
        {"weight_map": {"a": "../secret.safetensors"}},
        {"weight_map": {"a": "/etc/hostname"}},
    ],
)
def test_an_index_names_files_of_its_own_directory(tmp_path: Path, index: Any) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "secret.safetensors")
    folder = directory(tmp_path / "m", PUBLISHED)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnknownModelError, match="does not name the files"):
        weight_files(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_no_weights(tmp_path: Path, name: str) -> None:
    folder = directory(tmp_path / "m", PUBLISHED)
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(MissingWeightsDirectory, match=r"model\.safetensors"):
        weight_files(folder)


def test_an_adapter_is_no_model(ours: Path) -> None:
    (ours / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    with pytest.raises(MissingWeightsDirectory, match=r"adapter_model\.safetensors"):
        weight_files(ours)
    save_file({"a": torch.zeros(1)}, ours / "adapter_model.safetensors")
    with pytest.raises(UnsupportedModelError, match="merge it"):
        weight_files(ours)


def test_a_layout_says_where_its_weights_are_and_which_must_be_there(tmp_path: Path) -> None:
    layout = Layout("adapters", requires=lambda name: "lora_" in name)
    save_file({"a.lora_A": torch.zeros(1)}, tmp_path / "adapters.safetensors")
    assert weight_files(tmp_path, layout) == [tmp_path / "adapters.safetensors"]
    assert [layout.requires(name) for name in ("a.lora_A", "a.weight")] == [True, False]
    assert WHOLE.requires("anything")
    with pytest.raises(MissingWeightsDirectory):
        weight_files(tmp_path)
