"""Every system that remembers in vectors learns on both tasks; its runs resume to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.training.latent.settings import QUESTIONS, make_config

from memplus.systems.latent.system import LatentSystem
from memplus.systems.latent.weights import read_record
from memplus.systems.registry import SYSTEMS, system_class
from memplus.training.latent.run_config import SystemRunConfig
from memplus.training.latent.runs import SystemRun

SMALL: Mapping[str, Mapping[str, Any]] = {
    # A question is read behind a tail in one segment.
    "hmt": {"segment_tokens": 72, "sensory_tokens": 4, "retrieval_dim": 8, "rank": 2},
    "longmem": {
        "segment_tokens": 16, "reduction": 2, "chunk_tokens": 4, "retrieved_tokens": 8,
        "bank_tokens": 64,
    },
    "memlong": {"segment": 16, "chunk": 8, "local": 96, "bank": 64, "rank": 2, "top_k": 2},
    "lamemo": {"segment": 16, "memory": 16, "rank": 2},
}  # fmt: skip
"""Name -> options for a decoder of 256 positions."""
THERE = [name for name in SMALL if name in SYSTEMS]


def test_no_system_with_weights_to_train_is_left_out() -> None:
    found = {name for name in SYSTEMS if issubclass(system_class(name), LatentSystem)}
    assert found - {"learner"} == {*THERE}


@pytest.mark.parametrize("name", THERE)
def test_its_weights_move_and_a_run_taken_up_again_ends_in_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    books = {"task": "books", "segments": 4, "per_step": 2}
    given = make_config(
        tmp_path,
        tasks=[books, QUESTIONS | {"segments": [1, 2], "tail_tokens": 10}],
        optimizer={"schedule": "constant", "learning_rate": 1e-3},
        run={"steps": 4, "checkpoint": 2},
    )
    config = replace(given, system=name, options=SMALL[name])
    whole = SystemRun(config)
    before = {n: w.detach().clone() for n, w in whole.mechanism.named_parameters()}
    final = whole.run()
    counts = whole.workload.counts
    assert min(counts.values()) > 0
    still = [n for n, w in whole.mechanism.named_parameters() if w.equal(before[n])]
    assert still == []
    assert read_record(final).system == name
    SystemRun(elsewhere(config, 2)).run()
    again = SystemRun(elsewhere(config, 4), resume=True)
    again.run()
    for n, weight in weights_of(config).items():
        assert weight.equal(weights_of(elsewhere(config, 4))[n]), n


def elsewhere(config: SystemRunConfig, steps: int) -> SystemRunConfig:
    run = replace(config.run, out=config.run.out.parent / "parts", steps=steps)
    return replace(config, run=run)


def weights_of(config: SystemRunConfig) -> dict[str, Any]:
    newest = sorted((config.run.out / "checkpoints").iterdir())[-1]
    return load_file(newest / "weights.safetensors")
