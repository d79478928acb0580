"""The task retention: what it tells and asks, and its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.conftest import BOOKS, words

from memplus.errors import ConfigError, MissingDataError
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.retention_task import SQUAD, RetentionTask

PLAIN = RetentionTask(lengths=(0, 200), items=3, kinds=("notes", "statements"))


def inputs(folder: Path) -> Inputs:
    return Inputs(folder, words, 6, lambda: BOOKS)


def test_every_kind_is_told_and_asked_at_every_length(tmp_path: Path) -> None:
    (plan,) = PLAIN.plans(inputs(tmp_path))
    asked = list(plan.questions)
    places = {(one.kind, one.wanted) for one in asked}
    for kind in ("note", "statement", "correction"):
        assert {(kind, 0), (kind, 200)} <= places
    assert any(kind == "never told" for kind, _ in places)
    assert all(one.distance is not None and one.distance >= (one.wanted or 0) for one in asked)
    assert PLAIN.plans(inputs(tmp_path)) == [plan]
    assert len(replace(PLAIN, seeds=2).plans(inputs(tmp_path))) == 2


def test_a_question_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="SQuAD"):
        replace(PLAIN, kinds=("squad",)).plans(inputs(tmp_path))
    with pytest.raises(ConfigError):
        replace(PLAIN, kinds=())


def test_passages_of_a_set_are_told(tmp_path: Path) -> None:
    def asked(number: int) -> dict[str, object]:
        answer = {"text": "red", "answer_start": 0}
        question = {"question": f"What is {number}?", "is_impossible": False, "answers": [answer]}
        return {"context": f"The gate {number} is red.", "qas": [{"id": str(number), **question}]}

    articles = [{"title": f"A{one}", "paragraphs": [asked(one)]} for one in range(40)]
    (tmp_path / "squad").mkdir()
    (tmp_path / SQUAD.path.removesuffix(".gz")).write_text(json.dumps({"data": articles}))
    (tmp_path / SQUAD.path).write_bytes(
        __import__("gzip").compress(json.dumps({"data": articles}).encode())
    )
    task = replace(PLAIN, kinds=("squad",), split="all")
    (plan,) = task.plans(inputs(tmp_path))
    assert {one.kind for one in plan.questions} == {"SQuAD", "never told"}


def test_figures_are_of_right_answers_words_older_values_and_declining() -> None:
    line = {"wanted": 0, "seconds": 0.1, "bytes": 1, "declined": False, "outdated": True}
    lines = [
        {**line, "kind": "correction", "said": "red", "answers": ["blue"], "right": False},
        {**line, "kind": "never told", "said": "", "answers": [], "right": True, "declined": True},
    ]
    found = {(one.kind, one.measure): one.value for one in PLAIN.figures(lines)}
    assert found == {
        ("correction", "right"): 0.0,
        ("correction", "F1"): 0.0,
        ("correction", "older value"): 1.0,
        ("never told", "declined"): 1.0,
    }
