"""Plans of facts that revise one another, and what their lines come to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.evaluation.engine.plan import Question
from memplus.evaluation.engine.run import judged
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.conflicts import ConflictsTask
from memplus.systems.protocol import Reply


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


INPUTS = Inputs(Path(), words, 4, lambda: ())


def test_every_question_knows_where_the_newest_fact_stands() -> None:
    (plan,) = ConflictsTask(lengths=(1_000,), items=8).plans(INPUTS)
    (step,) = plan.steps
    tokens = " ".join(step.pieces).split()
    assert step.tokens == len(tokens) == plan.tokens <= 1_000
    for one in step.questions:
        assert one.told is not None
        assert one.distance is not None
        told = " ".join(tokens[one.told.start : one.told.end])
        assert re.fullmatch(rf"\d+\. .*{one.answers[0]}\.", told)
        assert one.told.end + one.distance == step.tokens
        assert one.wanted == 1_000


def test_there_is_a_plan_for_each_length_and_all_is_asked_once_of_what_keeps_nothing() -> None:
    plans = ConflictsTask(lengths=(300, 900), items=3).plans(INPUTS)
    assert [plan.name for plan in plans] == ["300 tokens", "900 tokens"]
    for plan in plans:
        assert [one.text for one in plan.once] == [one.text for one in plan.questions]
        assert all(one.told is None for one in plan.once)


def line(question: Question, said: str) -> dict[str, Any]:
    found = judged(ConflictsTask.judge, question, Reply(said, declined=False))
    return found | {"seconds": 0.1, "bytes": 8}


def test_the_value_alone_is_exact_a_sentence_with_it_contained_and_the_old_one_outdated() -> None:
    question = Question("k", "one hop", "Where?", ("Ulm",), 300, outdated="Rome")
    said = ["ulm.", "It is Ulm.", "Rome", "Rome and Ulm"]
    figures = ConflictsTask().figures(line(question, one) for one in said)
    found = {one.measure: one.value for one in figures}
    assert found == {"exact": 0.25, "contained": 0.75, "outdated": 0.25}


def test_sizes_that_ask_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ConflictsTask(items=0)
    with pytest.raises(ConfigError, match="at least 1"):
        ConflictsTask(lengths=(0,))


def test_a_list_that_would_be_longer_than_was_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="the shortest list has"):
        ConflictsTask(lengths=(1,)).plans(INPUTS)


def test_the_small_size_is_smaller() -> None:
    small, whole = ConflictsTask.small(), ConflictsTask()
    assert max(small.lengths) < max(whole.lengths)
    assert small.items < whole.items
