"""What the loop trains: both workloads give everything that the loop asks for, and restore it."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.training.conftest import SMALL
from tests.training.settings import make_config, write_texts

from memplus.mplus.model import MPlus
from memplus.training.engine.workload import Job, Workload
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.workload import NotesWorkload
from memplus.training.text.starting import starting_model
from memplus.training.text.text_cache import load_documents
from memplus.training.text.workload import TextWorkload


def step_of(workload: Workload, step: int) -> tuple[Job, torch.Tensor]:
    """As the loop does one, without an update."""
    job: Job = workload.draw(step, 0)
    with torch.no_grad():
        loss, figures = workload.module(job)
    workload.advance(job, {name: float(value) for name, value in figures.items()})
    return job, loss


def expect_a_restored_twin(one: Workload, two: Workload) -> None:
    for step in range(3):
        job, loss = step_of(one, step)
        assert job.label
        assert job.tokens > 0
        assert loss.shape == ()
    two.restore({name: tensor.clone() for name, tensor in one.tensors().items()}, one.state())
    for step in range(3, 5):
        (first, loss), (second, other) = step_of(one, step), step_of(two, step)
        assert (first.label, first.tokens) == (second.label, second.tokens)
        assert loss.equal(other)


def test_texts_are_a_workload(tmp_path: Path) -> None:
    write_texts(tmp_path)
    config = make_config(tmp_path)
    model = starting_model(config)
    documents = load_documents(config.data, model.tokenizer)
    one, two = (TextWorkload(model, config, documents) for _ in range(2))
    expect_a_restored_twin(one, two)


def test_notes_are_a_workload(model: MPlus, maker: EpisodeMaker) -> None:
    one, two = (NotesWorkload(model, SMALL, maker, seed=1, stage=1) for _ in range(2))
    expect_a_restored_twin(one, two)


def test_notes_resume_from_a_checkpoint_that_counted_steps_of_the_stage(
    model: MPlus, maker: EpisodeMaker
) -> None:
    """Checkpoints used to hold one number more."""
    one, two = (NotesWorkload(model, SMALL, maker, stage=1) for _ in range(2))
    step_of(one, 0)
    tensors = {name: tensor.clone() for name, tensor in one.tensors().items()}
    two.restore(tensors, one.state() | {"in_stage": 1})
    assert two.standing == one.standing
