"""The task recognition: what is told, what is chosen from, and its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.conftest import BOOKS, words

from memplus.errors import ConfigError
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.recognition import RecognitionTask, share_of_right

TASK = RecognitionTask(lengths=(0, 200), items=12)


def inputs(folder: Path) -> Inputs:
    return Inputs(folder, words, 6, lambda: BOOKS)


def test_each_note_is_chosen_from_the_same_four_values_at_every_distance(tmp_path: Path) -> None:
    (plan,) = TASK.plans(inputs(tmp_path))
    assert TASK.plans(inputs(tmp_path)) == [plan]
    asked = list(plan.questions)
    assert len(asked) == 2 * len(plan.once) == 24
    for one in (*asked, *plan.once):
        assert one.options[:1] == one.answers
        assert len(set(one.options)) == 4
        assert one.answer_start == ""
    options = {one.text: one.options for one in plan.once}
    assert all(one.options == options[one.text] for one in asked)
    other = replace(TASK, seeds=2, choices=3).plans(inputs(tmp_path))[1]
    assert {one.text for one in other.once}.isdisjoint(options)
    assert {len(one.options) for one in other.questions} == {3}


def test_others_are_values_of_the_same_class_that_were_told_where_there_are_any(
    tmp_path: Path,
) -> None:
    (plan,) = replace(TASK, items=60).plans(inputs(tmp_path))
    told = {one.answers[0] for one in plan.once}
    others = [value for one in plan.once for value in one.options[1:]]
    assert sum(value in told for value in others) > 0.8 * len(others)
    for one in plan.once:
        assert len({value.isdigit() for value in one.options}) == 1


def test_what_cannot_be_asked_is_refused() -> None:
    for wrong in ({"choices": 1}, {"lengths": ()}):
        with pytest.raises(ConfigError):
            replace(TASK, **wrong)


def line(right: bool, *scores: float) -> dict[str, Any]:
    of = {"kind": "note", "wanted": 0, "right": right, "declined": False, "seconds": 0, "bytes": 0}
    return of | ({"scores": [[score, 2] for score in scores]} if scores else {})


def test_more_choices_than_there_are_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"choices cannot be 500: .* has only \d+"):
        replace(TASK, choices=500).plans(inputs(tmp_path))


def test_figures_are_right_choices_and_the_right_one_s_probability() -> None:
    assert share_of_right(line(True, -1.0, -1.0, -1.0, -1.0)) == pytest.approx(0.25)
    assert share_of_right(line(False, -900.0, -1.0)) == pytest.approx(0)
    assert share_of_right(line(True)) == 1
    right, probability = TASK.figures([line(True, -1.0, -1.0), line(False, -1.0, -1.0)])
    assert (right.value, probability.value) == (0.5, 0.5)
    assert probability.measure == "probability of the right one"
