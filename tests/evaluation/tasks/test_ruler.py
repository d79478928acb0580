"""Plans of hidden needles, and what their lines come to."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memplus.data.ruler import KINDS
from memplus.errors import ConfigError
from memplus.evaluation.engine.plan import Question
from memplus.evaluation.engine.run import judged
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.evaluation.tasks.ruler import RulerTask
from memplus.systems.protocol import Reply


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


INPUTS = Inputs(Path(), words, 4, lambda: [language_documentation()])


def test_every_kind_has_its_texts_of_every_length() -> None:
    plans = RulerTask(lengths=(600, 900), items=2).plans(INPUTS)
    assert len(plans) == len({plan.name for plan in plans}) == 2 * 2 * len(KINDS)
    texts = {"".join(plan.steps[0].pieces) for plan in plans}
    assert len(texts) == len(plans)
    for plan in plans:
        (question,) = plan.questions
        assert question.wanted in (600, 900)
        assert plan.tokens <= question.wanted
        assert plan.once[0].text == question.text


def test_places_of_needles_are_where_they_stand() -> None:
    (plan,) = RulerTask(lengths=(600,), items=1, kinds=("multi_value",)).plans(INPUTS)
    (question,) = plan.questions
    tokens = "".join(plan.steps[0].pieces).split()
    told = [" ".join(tokens[one.start : one.end]) for one in question.evidence]
    assert len(told) == 4
    assert all(any(value in text for text in told) for value in question.answers)
    assert question.told == question.evidence[-1]
    assert question.distance == plan.tokens - question.evidence[-1].end


def line(question: Question, said: str) -> dict[str, Any]:
    found = judged(RulerTask.judge, question, Reply("", declined=False, generated=said))
    return found | {"seconds": 0.1, "bytes": 8}


def test_the_score_is_the_mean_share_of_what_is_wanted() -> None:
    question = Question("k", "multi_value", "Which?", ("11", "22"), 600)
    said = ["11 and 22", "22", "33"]
    figures = RulerTask().figures(line(question, one) for one in said)
    found = {one.measure: one.value for one in figures}
    assert found == pytest.approx({"score": 0.5, "all named": 1 / 3})


def test_options_that_ask_nothing_are_refused() -> None:
    for empty in ({"items": 0}, {"kinds": ()}, {"lengths": ()}):
        with pytest.raises(ConfigError, match="at least"):
            replace(RulerTask(), **empty)


def test_the_small_size_reads_less_than_20_000_tokens() -> None:
    small = RulerTask.small()
    assert sum(small.lengths) * len(small.kinds) * small.items < 20_000
    assert set(small.kinds) <= set(KINDS)
