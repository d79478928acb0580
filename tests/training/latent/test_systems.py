"""Every system that remembers in vectors learns on both tasks; its runs resume to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import make_model, some_ids
from tests.training.latent.settings import QUESTIONS, make_config
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.fields import checked
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


@pytest.mark.long
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


def test_a_record_says_what_the_decoder_decided(tmp_path: Path) -> None:
    options = {name: value for name, value in SMALL["longmem"].items() if name != "reduction"}
    config = replace(make_config(tmp_path), system="longmem", options=options)
    assert SystemRun(config)._record().sizes["reduction"] == 2


@torch.no_grad()
@pytest.mark.parametrize("name", THERE)
def test_questions_are_put_to_the_document_that_they_belong_to(name: str) -> None:
    backbone = Backbone(make_model("llama", attention="eager"))
    kind = system_class(name)
    assert issubclass(kind, LatentSystem)
    torch.manual_seed(0)
    made = kind.build(backbone, checked(kind.options_type, SMALL[name]), lambda ids: "")
    for weight in made.parameters():
        weight.add_(torch.randn(weight.shape) * 0.05)
    told, ids = some_ids(2, 3 * made.segment_tokens), some_ids(6, 10, seed=1)
    about = torch.tensor([[2, 8]]).expand(6, -1)
    pad = torch.tensor([0, 1, 2, 0, 0, 1])

    def read(rows: slice, asked: slice) -> Tensor:
        state = made.empty(len(told[rows]))
        for segment in told[rows].split(made.segment_tokens, dim=1):
            state = made.write(state, segment)
        found = made.read_about(state.repeated(3), ids[asked], about[asked], pad[asked])
        return found * (torch.arange(10) >= pad[asked][:, None])[..., None]

    together = read(slice(0, 2), slice(0, 6))
    alone = [read(slice(row, row + 1), slice(3 * row, 3 * row + 3)) for row in range(2)]
    assert together.allclose(torch.cat(alone), atol=1e-5)
    swapped = read(slice(1, 2), slice(0, 3))
    assert not together[:3].allclose(swapped, atol=1e-3)


def elsewhere(config: SystemRunConfig, steps: int) -> SystemRunConfig:
    run = replace(config.run, out=config.run.out.parent / "parts", steps=steps)
    return replace(config, run=run)


def weights_of(config: SystemRunConfig) -> dict[str, Any]:
    newest = sorted((config.run.out / "checkpoints").iterdir())[-1]
    return load_file(newest / "weights.safetensors")
