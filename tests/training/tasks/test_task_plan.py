from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.training.settings import make_config

from memplus.errors import ConfigError
from memplus.training.tasks.task_plan import draw_plan

MIXED = [
    {"task": "completion", "weight": 3, "chunks": [1, 4], "target_tokens": [4, 9]},
    {"task": "repetition", "chunks": 2, "target_tokens": 50, "full_pool": 0.25},
    {"task": "revisit", "weight": 2},
    {"task": "language"},
]


def test_tasks_come_by_their_weights_and_draws_by_the_step(tmp_path: Path) -> None:
    config = make_config(tmp_path, tasks=MIXED)
    plans = [draw_plan(config, step, 0, 500, revisits=True) for step in range(2000)]
    counts = Counter(plan.task.task for plan in plans)
    for name, share in {"completion": 3, "repetition": 1, "revisit": 2, "language": 1}.items():
        assert counts[name] / 2000 == pytest.approx(share / 7, abs=0.04), name
    assert plans == [draw_plan(config, step, 0, 500, revisits=True) for step in range(2000)]
    assert plans[:20] != [draw_plan(config, step, 1, 500, revisits=True) for step in range(20)]
    completions = [plan for plan in plans if plan.task.task == "completion"]
    assert {plan.chunks for plan in completions} == {1, 2, 3, 4}
    assert {plan.target_tokens for plan in completions} == set(range(4, 10))
    assert all(1 <= plan.query_tokens <= plan.target_tokens for plan in plans)
    repetitions = [plan for plan in plans if plan.task.task == "repetition"]
    whole = sum(plan.whole for plan in repetitions) / len(repetitions)
    assert whole == pytest.approx(0.25, abs=0.08)
    # A repetition is no longer than what it repeats, and takes nothing else.
    assert {plan.target_tokens for plan in repetitions} == {20}
    assert {plan.taken for plan in repetitions} == {20}
    assert {plan.taken for plan in plans if plan.task.task == "revisit"} == {0}


def test_nothing_is_revisited_before_something_was_kept(tmp_path: Path) -> None:
    config = make_config(tmp_path, tasks=MIXED)
    plans = [draw_plan(config, step, 0, 500, revisits=False) for step in range(200)]
    assert {plan.task.task for plan in plans} == {"completion", "repetition", "language"}


def test_fewer_chunks_where_documents_are_short(tmp_path: Path) -> None:
    tasks = [{"task": "completion", "chunks": 9, "target_tokens": 8}]
    config = make_config(tmp_path, tasks=tasks)
    assert draw_plan(config, 0, 0, 39, revisits=False).chunks == 3
    with pytest.raises(ConfigError, match="17 tokens"):
        draw_plan(config, 0, 0, 17, revisits=False)


def test_every_document_has_a_seed_of_its_own(tmp_path: Path) -> None:
    plan = draw_plan(make_config(tmp_path, tasks=MIXED), 3, 0, 500, revisits=True)
    seeds = plan.seeds(0, 6)
    assert len(set(seeds)) == 6
    assert plan.seeds(0, 3) == seeds[:3]
    assert set(plan.seeds(1, 6)).isdisjoint(seeds)
