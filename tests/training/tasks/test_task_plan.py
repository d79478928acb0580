"""Which task comes when: by the weights, and for the same seed and step always the same."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.training.settings import MEMORY

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.training.tasks.registry import task_from
from memplus.training.tasks.task_plan import Planner

MIXED = [
    {"task": "completion", "weight": 3, "chunks": [1, 4], "target_tokens": [4, 9]},
    {"task": "repetition", "chunks": 2, "target_tokens": 50, "full_pool": 0.25},
    {"task": "revisit", "weight": 2},
    {"task": "language"},
]


def planner(*tasks: dict[str, object], seed: int = 0) -> Planner:
    return Planner([task_from(one) for one in tasks], MemoryConfig.from_dict(MEMORY), seed)


def test_tasks_come_by_their_weights_and_draws_by_the_step() -> None:
    made = planner(*MIXED)
    plans = [made.draw(step, 0, 500, kept=True) for step in range(2000)]
    counts = Counter(plan.task.kind for plan in plans)
    for name, share in {"completion": 3, "repetition": 1, "revisit": 2, "language": 1}.items():
        assert counts[name] / 2000 == pytest.approx(share / 7, abs=0.04), name
    steps = range(0, 2000, 23)  # a draw follows from its step, not from those before it
    assert plans[::23] == [planner(*MIXED).draw(step, 0, 500, kept=True) for step in steps]
    assert plans[:20] != [made.draw(step, 1, 500, kept=True) for step in range(20)]
    assert plans[:20] != [planner(*MIXED, seed=1).draw(s, 0, 500, kept=True) for s in range(20)]
    completions = [plan for plan in plans if plan.task.kind == "completion"]
    assert {plan.sizes.chunks for plan in completions} == {1, 2, 3, 4}
    assert {plan.sizes.target_tokens for plan in completions} == set(range(4, 10))
    assert all(1 <= plan.query_tokens <= plan.sizes.target_tokens for plan in plans)
    repetitions = [plan for plan in plans if plan.task.kind == "repetition"]
    whole = sum(plan.whole for plan in repetitions) / len(repetitions)
    assert whole == pytest.approx(0.25, abs=0.08)
    assert sum(plan.renewed for plan in plans) / 2000 == pytest.approx(0.2, abs=0.03)


def test_the_plans_of_a_seed_stay_what_they_were() -> None:
    """A resumed run of an older version draws what that version would have drawn."""
    made = planner(*MIXED, seed=8)
    plans = [made.draw(step, 0, 500, kept=True) for step in range(6)]
    assert [
        (p.task.kind, p.sizes.chunks, p.sizes.target_tokens, p.query_tokens, p.whole, p.renewed)
        for p in plans
    ] == [
        ("completion", 3, 5, 4, True, False),
        ("completion", 4, 7, 3, True, False),
        ("revisit", 0, 64, 46, True, False),
        ("repetition", 2, 20, 5, False, False),
        ("revisit", 0, 64, 3, True, False),
        ("language", 0, 64, 3, True, True),
    ]


def test_nothing_is_revisited_before_something_was_kept() -> None:
    plans = [planner(*MIXED).draw(step, 0, 500, kept=False) for step in range(200)]
    assert {plan.task.kind for plan in plans} == {"completion", "repetition", "language"}


def test_all_tokens_ask_where_the_query_is_not_drawn() -> None:
    tasks = [task_from({"task": "language", "target_tokens": [4, 40]})]
    made = Planner(tasks, MemoryConfig.from_dict(MEMORY), 0, random_query=False)
    plans = [made.draw(step, 0, 500, kept=False) for step in range(50)]
    assert all(plan.query_tokens == plan.sizes.target_tokens for plan in plans)


def test_documents_that_are_too_short_are_named_by_the_task() -> None:
    made = planner({"task": "language", "name": "plain", "target_tokens": 8})
    with pytest.raises(ConfigError, match="7 tokens") as caught:
        made.draw(0, 0, 7, kept=False)
    assert caught.value.fields["field"] == "tasks.plain.target_tokens"
