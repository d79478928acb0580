"""LongMem's weights by a config of its own: taken up again to the bit, and opened as a system."""

from __future__ import annotations

from pathlib import Path

import yaml
from safetensors.torch import load_file
from tests.training.latent.settings import BOOKS, QUESTIONS, settings
from tests.training.settings import write_texts

from memplus.systems.longmem.system import LongMemSystem
from memplus.training.engine.config_file import parse_config_text
from memplus.training.engine.metrics import read_metrics
from memplus.training.latent.run_config import SystemRunConfig
from memplus.training.latent.runs import SystemRun

ROOT = Path(__file__).parents[3]
SIZES = {"reduction": 2, "chunk_tokens": 2, "retrieved_tokens": 8, "segment_tokens": 16}


def longmem_config(folder: Path, name: str, steps: int = 4) -> SystemRunConfig:
    if not (folder / "texts.jsonl").exists():
        write_texts(folder, documents=12, words=120)
    values = settings(folder, optimizer={"schedule": "constant"})
    values["run"] |= {"steps": steps, "out": str(folder / name)}
    tasks = [BOOKS | {"segments": 5, "per_step": 2}, QUESTIONS]
    values |= {"system": "longmem", "options": SIZES, "tasks": tasks}
    return parse_config_text(yaml.safe_dump(values), SystemRunConfig)


def test_a_run_taken_up_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = SystemRun(longmem_config(tmp_path, "whole")).run()
    SystemRun(longmem_config(tmp_path, "parts", steps=2)).run()
    again = SystemRun(longmem_config(tmp_path, "parts"), resume=True)
    parts = again.run()
    one, two = (load_file(folder / "weights.safetensors") for folder in (whole, parts))
    assert one.keys() == two.keys()
    assert all(weight.equal(two[name]) for name, weight in one.items())
    assert again.workload.counts["questions"] > 0
    assert bool((one["gate"] != 0).all())


def test_the_commands_configs_are_there_and_are_of_this_system() -> None:
    for command in LongMemSystem.makes:
        config = ROOT / command.split()[-1]
        assert yaml.safe_load(config.read_text())["system"] == LongMemSystem.registered


def test_losses_fall(tmp_path: Path) -> None:
    made = longmem_config(tmp_path, "run", steps=12)
    SystemRun(made).run()
    losses = [line["loss.books"] for line in read_metrics(made.run.out) if "loss.books" in line]
    assert losses[-1] < losses[0]
