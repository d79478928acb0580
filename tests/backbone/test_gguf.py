"""A converted GGUF file is the model that the library itself reads out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.mplus.gguf_files import PARAMETERS, SIZE, TEMPLATE, WIDTH, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from memplus.backbone.gguf import convert
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.errors import UnsupportedModelError, WeightsError

IDS = torch.arange(10, 60)[None]


def read_by_the_library(path: Path, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits
    return found


@pytest.mark.parametrize("head", [False, True])
def test_weights_and_logits_are_those_of_the_librarys_own_reading(
    tmp_path: Path, head: bool
) -> None:
    path = tmp_path / "gguf" / "tiny.gguf"
    path.parent.mkdir()
    write_gguf(path, head=head)
    convert(path, tmp_path / "made", parameters=PARAMETERS + (SIZE * WIDTH if head else 0))
    ours = load_stock(tmp_path / "made", None)
    exact = read_by_the_library(path, torch.float32)
    for name, weight in exact.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight.to(torch.bfloat16)), name
    assert torch.equal(logits(ours), logits(read_by_the_library(path, torch.bfloat16)))
    difference = logits(ours.float()) - logits(exact)
    assert difference.std() < 0.05 * logits(exact).std()
    embedding, out = ours.get_input_embeddings().weight, ours.get_output_embeddings().weight
    assert (embedding.data_ptr() == out.data_ptr()) != head
    assert ours.config.tie_word_embeddings != head


def test_the_directory_is_a_plain_decoders_in_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "gguf" / "tiny.gguf"
    path.parent.mkdir()
    write_gguf(path)
    made = tmp_path / "made"
    convert(path, made, parameters=PARAMETERS)
    config = json.loads((made / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    assert load_stock(made, None).dtype == torch.bfloat16
    tokenizer = load_tokenizer(made)
    stock = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert tokenizer is not None
    assert tokenizer.chat_template == stock.chat_template == TEMPLATE
    text = "the cat said: 12 naïve words"
    assert tokenizer(text).input_ids == stock(text).input_ids
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, without="blk.1.ffn_up.weight")
    with pytest.raises(WeightsError, match=r"layers\.1\.mlp\.up_proj"):
        convert(path, tmp_path / "made", parameters=PARAMETERS)
    assert not (tmp_path / "made").exists()


def test_what_the_library_cannot_read_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF and nothing that follows from it")
    with pytest.raises(UnsupportedModelError, match=r"tiny\.gguf"):
        convert(path, tmp_path / "made", parameters=PARAMETERS)
    write_gguf(path)
    with pytest.raises(UnsupportedModelError, match="weights were read"):
        convert(path, tmp_path / "made", parameters=PARAMETERS - 1)
    assert not (tmp_path / "made").exists()
