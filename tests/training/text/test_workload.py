from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.settings import make_config, stored, write_texts
from tests.training.tasks.test_questions import config_of

from memplus.errors import ConfigError
from memplus.training.tasks.asked import IGNORED
from memplus.training.tasks.protocol import KeptTarget
from memplus.training.text.run_config import TrainingConfig
from memplus.training.text.starting import starting_model
from memplus.training.text.text_cache import load_documents
from memplus.training.text.workload import TextWorkload


@pytest.fixture
def workload(tmp_path: Path) -> Any:
    write_texts(tmp_path)

    def make(config: TrainingConfig, **place: int) -> TextWorkload:
        model = starting_model(config)
        return TextWorkload(model, config, load_documents(config.data, model.tokenizer), **place)

    return make


def test_processes_share_a_batch_and_agree_on_its_plan(tmp_path: Path, workload: Any) -> None:
    config = make_config(tmp_path, run={"documents": 4})
    whole = workload(config)
    parts = [workload(config, process=index, processes=2) for index in range(2)]
    for step in range(6):
        job = whole.draw(step, 0)
        first, second = (part.draw(step, 0) for part in parts)
        assert job.plan == first.plan == second.plan
        assert job.ids.equal(torch.cat([first.ids, second.ids]))
        assert job.chunks.equal(torch.cat([first.chunks, second.chunks]))
        assert job.seeds == first.seeds + second.seeds
        assert job.tokens == first.tokens == 4 * job.plan.tokens


def test_a_completion_goes_on_where_its_chunks_end(tmp_path: Path, workload: Any) -> None:
    tasks = [{"task": "completion", "chunks": 2, "target_tokens": 7}]
    job = workload(make_config(tmp_path, tasks=tasks)).draw(0, 0)
    assert tuple(job.chunks.shape) == (2, 2, 10)
    assert (tuple(job.ids.shape), job.unscored) == ((2, 7), 0)
    again = workload(make_config(tmp_path, tasks=tasks))
    pieces = [again.order.take(27) for _ in range(2)]
    assert torch.cat([job.chunks.flatten(1), job.ids], dim=1).equal(torch.stack(pieces))


@pytest.mark.parametrize(("instruction", "first"), [("", 2), ("Repeat:", 9)])
def test_a_repetition_begins_like_its_chunks(
    tmp_path: Path, workload: Any, instruction: str, first: int
) -> None:
    task = {"task": "repetition", "chunks": 2, "target_tokens": 12, "unscored": 2}
    made = workload(make_config(tmp_path, tasks=[task | {"instruction": instruction}]))
    job = made.draw(0, 0)
    asked = made.module.model.encode(instruction) if instruction else []
    assert job.ids[0, : len(asked)].tolist() == asked
    assert job.ids[:, len(asked) :].equal(job.chunks.flatten(1)[:, :12])
    # Predictions before that of the third repeated token are not scored.
    assert job.unscored == first - 1


def test_a_revisit_asks_for_what_was_kept_and_renews_it(tmp_path: Path, workload: Any) -> None:
    tasks = [{"task": "completion", "target_tokens": 6}, {"task": "revisit"}]
    config = make_config(tmp_path, tasks=tasks, run={"revisit_renewal": 1.0})
    made = workload(config)
    kept: KeptTarget | None = None
    seen = set()
    for step in range(30):
        job = made.draw(step, 0)
        with torch.no_grad():
            made.module(job)
        now = made.module.kept
        if job.plan.task.kind == "revisit":
            assert kept is not None
            assert job.ids.equal(kept.ids)
            assert job.chunks.shape[1] == 0
            assert now.due
            seen.add("revisited")
        elif kept is None or kept.due:
            assert now.ids.equal(job.ids)
            assert not now.due
            assert now.target.first == now.target.last == made.module.memory.writes
            seen.add("kept")
        else:
            assert now is kept
            seen.add("left")
        kept = now
    assert seen == {"revisited", "kept", "left"}


def test_its_state_goes_through_json_and_files(tmp_path: Path, workload: Any) -> None:
    config = stored(tmp_path)
    one, two = workload(config), workload(config)
    for step in range(12):
        with torch.no_grad():
            one.module(one.draw(step, 0))
    state = json.loads(json.dumps(one.state()))
    two.restore({name: tensor.clone() for name, tensor in one.tensors().items()}, state)
    for step in range(12, 20):
        jobs = [each.draw(step, 0) for each in (one, two)]
        assert jobs[0].ids.equal(jobs[1].ids)
        with torch.no_grad():
            losses = [each.module(job)[0] for each, job in zip((one, two), jobs, strict=True)]
        assert losses[0].equal(losses[1])


@pytest.mark.parametrize("asks", [True, False])
def test_what_is_learned_from_is_counted_as_of_other_systems(
    tmp_path: Path, workload: Any, *, asks: bool
) -> None:
    """Texts that are written or read, rows that are asked, and tokens of these with answers."""
    config = config_of(tmp_path) if asks else stored(tmp_path)
    made = workload(config)
    text = questions = tokens = 0
    for step in range(12):
        job = made.draw(step, 0)
        with torch.no_grad():
            _, figures = made.module(job)
        made.advance(job, {name: float(value) for name, value in figures.items()})
        text += job.chunks.numel() + job.ids.numel()
        if job.asked is not None:
            questions += len(job.asked.ids)
            labels = int((job.asked.labels != IGNORED).sum())
            tokens += int(job.asked.prompt.sum()) + labels
    expected = {"text_tokens": text, "question_tokens": tokens, "questions": questions}
    assert text > 0
    assert (questions > 0) == (tokens > 0) == asks
    assert made.learned_from is not None
    assert made.learned_from.counts == expected
    again = workload(config)
    again.restore(made.tensors(), json.loads(json.dumps(made.state())))
    assert again.learned_from is not None
    assert again.learned_from.counts == expected


def test_what_a_run_will_learn_from_is_counted_without_training(
    tmp_path: Path, workload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``benchmarks/learned_from.py``: passes aside, forgetting ones and expiry as in a run."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    script = importlib.import_module("learned_from")
    task = {"forgets": 0.2, "short": 0.3, "short_tokens": [2, 6], "earlier": 0.5}
    config = config_of(tmp_path, task, run={"steps": 14, "accumulate": 2})
    made = workload(config)
    for step in range(14):
        for part in range(2):
            job = made.draw(step, part)
            with torch.no_grad():
                _, figures = made.module(job)
            made.advance(job, {name: float(value) for name, value in figures.items()})
    assert made.learned_from is not None
    assert made.learned_from.counts["questions"] > 0
    assert script.counted(config, starting_model(config)) == made.learned_from.counts
    with pytest.raises(ConfigError, match="only a run keeps"):
        script.counted(make_config(tmp_path), starting_model(config))


def test_a_run_begun_by_a_release_that_did_not_count_says_nothing(
    tmp_path: Path, workload: Any
) -> None:
    made, again = (workload(stored(tmp_path)) for _ in range(2))
    state = made.state()
    del state["counts"]
    again.restore(made.tensors(), state)
    assert again.learned_from is None
    again.advance(again.draw(0, 0), {})
    assert again.state()["counts"] is None
