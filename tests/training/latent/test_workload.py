from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.latent.settings import make_config

from memplus.errors import ConfigError
from memplus.training.latent.runs import SystemRun
from memplus.training.latent.workload import LatentWorkload
from memplus.training.text.text_cache import load_documents


def workload(folder: Path, place: tuple[int, int] = (0, 1), **run: object) -> LatentWorkload:
    config = make_config(folder, run=run)
    made = SystemRun(config)
    documents = load_documents(config.data, made.base.tokenizer)
    return LatentWorkload(made.mechanism, config, documents, made.base.tokenizer, place)


def test_tasks_come_by_their_weights_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two = workload(tmp_path), workload(tmp_path)
    labels = []
    for step in range(12):
        first, second = one.draw(step, 0), two.draw(step, 0)
        assert first.ids.equal(second.ids)
        labels.append(first.label)
    assert set(labels) == {"books", "questions"}


@pytest.mark.long
def test_processes_have_their_share_of_one_batch(tmp_path: Path) -> None:
    whole, parts = workload(tmp_path), [workload(tmp_path, (i, 2)) for i in range(2)]
    for step in range(4):
        drawn = [one.draw(step, 0) for one in parts]
        assert whole.draw(step, 0).ids.equal(torch.cat([job.ids for job in drawn]))
    with pytest.raises(ConfigError, match="3 processes"):
        workload(tmp_path, (0, 3))


def test_what_is_learned_from_is_counted(tmp_path: Path) -> None:
    one = workload(tmp_path)
    text = asked = tokens = 0
    for step in range(6):
        job = one.draw(step, 0)
        _, figures = one.module(job)
        one.advance(job, {name: float(value) for name, value in figures.items()})
        text += job.ids.numel()
        if job.asked is not None:
            asked += len(job.asked.ids)
            labels = job.asked.labels != -100
            tokens += int(job.asked.prompt.sum()) + int(labels.sum())
    assert one.counts == {"text_tokens": text, "question_tokens": tokens, "questions": asked}


@pytest.mark.long
def test_everything_that_is_kept_can_be_taken_up_again(tmp_path: Path) -> None:
    one, two = workload(tmp_path), workload(tmp_path)
    for step in range(4):
        job = one.draw(step, 0)
        _, figures = one.module(job)
        one.advance(job, {name: float(value) for name, value in figures.items()})
    two.restore(one.tensors(), one.state())
    assert two.counts == one.counts
    assert two.module.states.keys() == one.module.states.keys()
    for step in range(4, 8):
        first, second = one.draw(step, 0), two.draw(step, 0)
        assert first.ids.equal(second.ids)
        assert one.module(first)[0].equal(two.module(second)[0])
