"""Stock models and tokenizers of a directory: loaded whole, and nothing of the directory runs."""

from __future__ import annotations

import io
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fakes import CONFIG, make_model, make_mplus, some_ids
from tests.warm import python

from memplus import MPlus
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.errors import (
    ConfigError,
    MissingWeightsDirectory,
    ModelError,
    UnsupportedModelError,
    WeightsError,
)

# Python that leaves a file behind wherever it runs.
CODE = "import pathlib; pathlib.Path({marker!r}).write_text('ran')\n"
CLASSES = """
from transformers import LlamaConfig as C, LlamaForCausalLM as M, PreTrainedTokenizerFast as T
def generate(model, *args, **options): return None
"""


class Pickled:
    """Runs when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def directory(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's directory with code in it, and somebody who says yes to every question."""
    folder = tmp_path / "model"
    make_mplus().save_pretrained(folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)) + CLASSES)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    return folder


def changed(folder: Path, name: str, **fields: Any) -> None:
    file = folder / name
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | fields))


def stock(folder: Path) -> None:
    """The same directory without its memory."""
    (folder / "memplus.json").unlink()
    weights = load_file(folder / "model.safetensors")
    plain = {name: one for name, one in weights.items() if not name.startswith("memplus.")}
    save_file(plain, folder / "model.safetensors", {"format": "pt"})


def load(folder: Path, layout: str) -> MPlus:
    if layout == "ours":
        return MPlus.from_pretrained(folder)
    return MPlus.from_backbone(folder, CONFIG)


AUTO = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", "own.T"]}


def odd_config(folder: Path, marker: Path) -> None:
    changed(folder, "config.json", model_type="odd", auto_map=AUTO)


def known_config(folder: Path, marker: Path) -> None:
    changed(folder, "config.json", auto_map=AUTO)


def upstream_config(folder: Path, marker: Path) -> None:
    upstream = {name: f"somebody/else--{ref}" for name, ref in AUTO.items() if "Tok" not in name}
    changed(folder, "config.json", auto_map=upstream)


def known_tokenizer(folder: Path, marker: Path) -> None:
    changed(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", "own.T"]})


def odd_tokenizer(folder: Path, marker: Path) -> None:
    fields = {"auto_map": {"AutoTokenizer": ["own.T", None]}, "tokenizer_class": "OwnTokenizer"}
    changed(folder, "tokenizer_config.json", **fields)
    (folder / "tokenizer.json").unlink()


def own_generate(folder: Path, marker: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text((folder / "own.py").read_text())
    changed(folder, "generation_config.json", custom_generate=str(folder))


def pickles(folder: Path, marker: Path) -> None:
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "model.pt"):
        (folder / name).write_bytes(pickle.dumps(Pickled(marker)))


def only_pickles(folder: Path, marker: Path) -> None:
    pickles(folder, marker)
    (folder / "model.safetensors").unlink()


def adapter(folder: Path, marker: Path) -> None:
    pickles(folder, marker)
    changed(folder, "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(folder))


def kernels(folder: Path, marker: Path) -> None:
    changed(folder, "config.json", attn_implementation="somebody/kernels")


def quantised(folder: Path, marker: Path) -> None:
    changed(folder, "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def config_of_another_version(folder: Path, marker: Path) -> None:
    changed(folder, "config.json", configuration_files=["config.4.0.0.json"])
    changed(folder, "config.4.0.0.json", model_type="odd", auto_map=AUTO)


Trap = Callable[[Path, Path], None]
TRAPS: dict[Trap, bool] = {
    odd_config: False,
    known_config: True,
    upstream_config: True,
    known_tokenizer: True,
    odd_tokenizer: False,
    own_generate: True,
    pickles: True,
    only_pickles: False,
    adapter: False,
    kernels: False,
    quantised: False,
    config_of_another_version: True,
}
"""What is put into the directory, and whether the model is loaded all the same."""


@pytest.mark.parametrize("layout", ["ours", "stock"])
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_nothing_of_a_directory_ever_runs(
    directory: Path, marker: Path, trap: Trap, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if layout == "stock":
        stock(directory)
    trap(directory, marker)
    modules = set(sys.modules)
    if TRAPS[trap]:
        model = load(directory, layout)
        memory = model.new_memory()
        model.write(memory, "The desk code is 7310. " * 3, flush=True)
        model.ask(memory, "What is the desk code?", max_new_tokens=2)
        model.save_pretrained(directory.parent / "copy")
        MPlus.from_pretrained(directory.parent / "copy")
        for file in directory.parent.joinpath("copy").glob("*.json"):
            assert "auto_map" not in file.read_text()
    else:
        with pytest.raises(ModelError, match=re.escape(str(directory))):
            load(directory, layout)
    assert not marker.exists()
    assert not [name for name in set(sys.modules) - modules if "transformers_modules" in name]
    assert capsys.readouterr().out == ""
    assert sys.stdin.read() == "y\n" * 20


@pytest.mark.long
@pytest.mark.parametrize("trap", [odd_config, odd_tokenizer], ids=lambda trap: trap.__name__)
def test_the_command_line_asks_nobody_and_prints_json_alone(
    directory: Path, marker: Path, trap: Trap
) -> None:
    trap(directory, marker)
    memory = directory.parent / "a.memory"
    command = [*python(), "-m", "memplus.cli.main", "write", "-", "--memory", str(memory)]
    ran = subprocess.run(
        [*command, "--model", str(directory), "--json"],
        input="y\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["error"]["type"] == "UnsupportedModelError"
    assert not marker.exists()


def test_a_chat_template_cannot_leave_its_sandbox(directory: Path, marker: Path) -> None:
    escape = "{{ cycler.__init__.__globals__.os.system('touch " + str(marker) + "') }}"
    changed(directory, "tokenizer_config.json", chat_template=escape)
    tokenizer: Any = load_tokenizer(directory)
    assert tokenizer.chat_template == escape
    with pytest.raises(Exception, match=r"unsafe|undefined"):
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert not marker.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0"}', ""])
def test_a_broken_tokenizer_is_a_named_error(directory: Path, content: str) -> None:
    (directory / "tokenizer.json").write_text(content)
    with pytest.raises(UnsupportedModelError, match="tokenizer"):
        load_tokenizer(directory)


def test_a_directory_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert load_tokenizer(tmp_path) is None


@pytest.mark.parametrize("layout", ["ours", "stock"])
@pytest.mark.parametrize("value", ["x", [1, "x"], 2.5, {"a": 1}])
def test_special_tokens_are_ids(directory: Path, layout: str, value: Any) -> None:
    if layout == "stock":
        stock(directory)
    changed(directory, "generation_config.json", eos_token_id=value)
    with pytest.raises((ConfigError, UnsupportedModelError), match=r"generation_config|eos"):
        if layout == "ours":
            MPlus.from_pretrained(directory)
        else:
            load_stock(directory, None)


def test_a_stock_model_is_loaded_as_the_library_loads_it(tmp_path: Path) -> None:
    model = make_model("qwen2")
    model.save_pretrained(tmp_path)
    loaded = load_stock(tmp_path, None)
    with torch.no_grad():
        assert torch.equal(loaded(some_ids(9, 1)).logits, model(some_ids(9, 1)).logits)
    assert load_stock(tmp_path, torch.bfloat16).dtype == torch.bfloat16


def test_a_misshapen_weight_of_a_stock_model_is_named(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = torch.zeros(7, 3)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load_stock(tmp_path, None)
    assert caught.value.fields["misshapen"] == {name: "expected [48, 32], found [7, 3]"}


def test_weights_in_another_form_are_not_looked_for(tmp_path: Path) -> None:
    model = make_model()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingWeightsDirectory, match=r"model\.safetensors"):
        load_stock(tmp_path, None)
