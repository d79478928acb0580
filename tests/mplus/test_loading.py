"""Directories of models: what is wrong with them is said by name, before anything is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fakes import ADAPTERS, CONFIG, CONFIGS, make_model, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from memplus import Memory, MPlus
from memplus.backbone.layouts import Layout, read_checkpoint
from memplus.config import CounterEviction, SpanRetrieval
from memplus.errors import (
    MissingWeightsDirectory,
    ModelError,
    NotADecoderError,
    TokenizerMissingError,
    UnknownModelError,
    UnsupportedModelError,
    WeightsError,
)
from memplus.mplus.loading import assemble_model

ADAPTED = replace(CONFIG, adapters=ADAPTERS)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    make_mplus("llama", ADAPTED).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def damaged(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})


SAVED = [name for name in CONFIGS if "window" not in name]


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_gives_bit_equal_logits(tmp_path: Path, name: str) -> None:
    config = ADAPTED if name == "llama" else CONFIG
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    model = make_mplus(name, config, attention=attention)
    memory = model.new_memory()
    model.write(memory, some_ids(70).tolist())
    model.save_pretrained(tmp_path)
    memory.save(tmp_path / "m.mem")

    loaded = MPlus.from_pretrained(tmp_path)
    again = Memory.load(tmp_path / "m.mem", loaded)

    assert loaded.memory_config == model.memory_config
    assert loaded.fingerprint == model.fingerprint
    fresh = loaded.new_memory()
    loaded.write(fresh, some_ids(70).tolist())
    with torch.no_grad():
        expected = model(some_ids(5), memory=memory).logits
        assert torch.equal(loaded(some_ids(5), memory=again).logits, expected)
        assert torch.equal(loaded(some_ids(5), memory=fresh).logits, expected)
    assert loaded.encode("abc") == model.encode("abc")


@pytest.mark.parametrize("eviction", [CONFIG.eviction, CounterEviction(every=2)])
def test_the_same_weights_without_a_long_term_store(directory: Path, eviction: object) -> None:
    loaded = MPlus.from_pretrained(directory, retrieved_tokens=0)
    memory = loaded.new_memory()
    loaded.write(memory, some_ids(80).tolist())
    assert (memory.long_term_rows, memory.short_term_rows) == (0, 24)


def test_what_spans_weigh_and_replace_goes_with_the_long_term_store(tmp_path: Path) -> None:
    way = SpanRetrieval(span_rows=4, layer=2, weighs=True, supersedes=True)
    model = make_mplus(config=replace(SPANS, retrieval=way))
    model.save_pretrained(tmp_path)
    again = MPlus.from_pretrained(tmp_path)
    assert again.memory_config.supersedes_spans
    for name in ("span_weights", "superseding"):
        assert torch.equal(getattr(again.weights, name), getattr(model.weights, name))
    loaded = MPlus.from_pretrained(tmp_path, retrieved_tokens=0)
    assert loaded.weights.span_weights is loaded.weights.superseding is None
    memory = loaded.new_memory()
    loaded.write(memory, some_ids(80).tolist())
    assert memory.long_term_rows == 0
    assert bool(loaded(some_ids(5), memory=memory).logits.isfinite().all())


def test_dtype_is_the_callers(directory: Path) -> None:
    loaded = MPlus.from_pretrained(directory, dtype=torch.bfloat16)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}
    rotary = loaded.backbone.decoder.rotary_emb
    assert rotary.inv_freq.dtype == torch.float32


NAMES = [
    "model.layers.1.mlp.up_proj.base_layer.weight",
    "model.layers.0.self_attn.q_proj.lora_A.default.weight",
    "model.layers.3.self_attn.v_proj.lora_B.decoder_adapter.weight",
    "memplus.bos_embedding",
    "memplus.memory_embedding",
    "memplus.retriever.2.key_proj.0.weight",
    "lm_head.weight",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_weight_is_named(directory: Path, name: str) -> None:
    damaged(directory, lambda tensors: tensors.pop(name))
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")) as caught:
        MPlus.from_pretrained(directory)
    assert caught.value.exit_code == 4
    assert caught.value.fields["missing"] == (name,)


@pytest.mark.parametrize("name", NAMES)
def test_a_misshapen_weight_is_named(directory: Path, name: str) -> None:
    damaged(directory, lambda tensors: tensors.update({name: torch.zeros(3, 2, 2, 1)}))
    with pytest.raises(WeightsError) as caught:
        MPlus.from_pretrained(directory)
    misshapen = caught.value.fields["misshapen"]
    assert isinstance(misshapen, dict)
    assert list(misshapen) == [name]


@pytest.mark.parametrize(
    "name",
    ["extra", "memplus.extra", "memplus.pristine.extra", "model.layers.9.mlp.up_proj.weight"],
)
def test_an_unexpected_weight_is_named(directory: Path, name: str) -> None:
    damaged(directory, lambda tensors: tensors.update({name: torch.zeros(2)}))
    with pytest.raises(WeightsError) as caught:
        MPlus.from_pretrained(directory)
    assert caught.value.fields["unexpected"] == (name,)


def test_a_layout_says_which_weights_may_be_missing(directory: Path) -> None:
    names = [NAMES[0], NAMES[1]]
    damaged(directory, lambda tensors: [tensors.pop(name) for name in names])
    checkpoint = read_checkpoint(directory)
    checkpoint.layout = Layout(requires=lambda name: "lora_" in name)
    with pytest.raises(WeightsError) as caught:
        assemble_model(checkpoint, None, torch.device("cpu"))
    assert caught.value.fields["missing"] == (NAMES[1],)


@pytest.mark.parametrize("load", ["pretrained", "backbone"])
@pytest.mark.parametrize(
    "name", ["nothing-here", "./nothing/here", "a/b/c", "some-user/some-model-that-is-not-there"]
)
def test_an_unknown_name_is_said_so(load: str, name: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        if load == "pretrained":
            MPlus.from_pretrained(name)
        else:
            MPlus.from_backbone(name, CONFIG)
    assert caught.value.exit_code == 2
    assert name in str(caught.value)


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def without_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def half_of_the_shards(path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "model.safetensors").rename(path / "model-1.safetensors")


def cut_weights(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def broken_json(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_text("{nonsense") and None


FAULTS: dict[str, tuple[Callable[[Path], None], type[ModelError]]] = {
    "empty": (empty, MissingWeightsDirectory),
    "no weights": (without_weights, MissingWeightsDirectory),
    "a shard is missing": (half_of_the_shards, MissingWeightsDirectory),
    "weights cut": (cut_weights, WeightsError),
    "our config": (broken_json("memplus.json"), UnknownModelError),
    "its config": (broken_json("config.json"), UnknownModelError),
    "no config": (lambda path: (path / "config.json").unlink(), ModelError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_directory_is_a_named_error(directory: Path, fault: str) -> None:
    break_it, error = FAULTS[fault]
    break_it(directory)
    with pytest.raises(error):
        MPlus.from_pretrained(directory)


@pytest.mark.parametrize("fault", ["empty", "no weights", "weights cut", "its config"])
def test_a_damaged_stock_directory_is_a_named_error(tmp_path: Path, fault: str) -> None:
    break_it, error = FAULTS[fault]
    make_model().save_pretrained(tmp_path)
    break_it(tmp_path)
    with pytest.raises(error):
        MPlus.from_backbone(tmp_path, CONFIG)


def test_a_stock_directory_gets_a_fresh_memory(tmp_path: Path) -> None:
    stock = make_model()
    stock.save_pretrained(tmp_path)
    model = MPlus.from_backbone(tmp_path, CONFIG)
    ids = some_ids(1, 6)
    with torch.no_grad():
        assert (model(ids).logits - stock(ids).logits).abs().max().item() <= 2e-5
    with pytest.raises(TokenizerMissingError):
        model.encode("text")
    with pytest.raises(UnsupportedModelError, match="from_backbone"):
        MPlus.from_pretrained(tmp_path)


def test_a_stock_directory_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    damaged(tmp_path, lambda tensors: tensors.pop("model.layers.0.self_attn.k_proj.weight"))
    with pytest.raises(WeightsError, match="k_proj"):
        MPlus.from_backbone(tmp_path, CONFIG)


def test_a_model_with_memory_is_no_backbone(directory: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="from_pretrained"):
        MPlus.from_backbone(directory, CONFIG)


def test_directories_of_other_models_are_refused(tmp_path: Path) -> None:
    sizes = {"vocab_size": 9, "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(**sizes, intermediate_size=8)).save_pretrained(tmp_path / "bert")
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(NotADecoderError):
        MPlus.from_backbone(tmp_path / "bert", CONFIG)
    with pytest.raises(UnsupportedModelError):
        MPlus.from_backbone(tmp_path / "gpt2", CONFIG)


def test_a_newer_layout_is_refused(directory: Path) -> None:
    file = directory / "memplus.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(UnsupportedModelError, match="format"):
        MPlus.from_pretrained(directory)


def test_a_pool_may_begin_with_fewer_rows_and_no_more(directory: Path) -> None:
    slots = read_checkpoint(directory).memory.short_term_tokens
    name = "memplus.pristine.short_term"
    layers, width = 4, 32
    damaged(directory, lambda tensors: tensors.update({name: torch.randn(layers, 3, width)}))
    assert MPlus.from_pretrained(directory).new_memory().short_term_rows == 3
    damaged(
        directory, lambda tensors: tensors.update({name: torch.randn(layers, slots + 1, width)})
    )
    with pytest.raises(WeightsError, match="short_term"):
        MPlus.from_pretrained(directory)


def test_ages_without_rows_are_no_weights(directory: Path) -> None:
    name = "memplus.pristine.ages"
    damaged(directory, lambda tensors: tensors.update({name: torch.zeros(4, 3)}))
    with pytest.raises(WeightsError) as caught:
        MPlus.from_pretrained(directory)
    assert caught.value.fields["unexpected"] == (name,)
