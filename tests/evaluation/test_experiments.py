"""Whole evaluations into a folder, on a tiny model."""

import json
from pathlib import Path

import pytest
from tests.evaluation.conftest import BOOKS, silent

from memplus import MPlus
from memplus.data.questions import Asked, QuestionSet
from memplus.errors import RunMismatchError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.experiments import (
    Streams,
    evaluate_layouts,
    evaluate_questions,
    evaluate_retention,
)
from memplus.evaluation.tasks.note_layouts import LAYOUTS
from memplus.evaluation.tasks.retention import RetentionSizes


def test_a_folder_gets_answers_summary_and_picture_and_refuses_another_run(
    bench: Bench, model: MPlus, tmp_path: Path
) -> None:
    streams = Streams(RetentionSizes(1, (0, 30)), 2, tmp_path / "run")
    results = evaluate_retention(bench, BOOKS, streams, silent)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(summary["run"]["systems"]) == ["mplus", "memoryllm", "nothing"]
    assert summary["run"]["systems"]["mplus"]["model"] == model.fingerprint
    assert summary["run"]["notes"] == 1
    assert summary["run"]["distances"] == [0, 30]
    assert len(summary["cells"]) == len(results.cells) == 1 + 2 * 2 * 3
    assert {tuple(cell["by_seed"]) for cell in summary["cells"]} == {("0", "1")}
    assert summary["survival_by_chance"]["30"] == pytest.approx((1 - 6 / 24) ** 5)
    assert {one.system for one in results.near} == {"mplus", "memoryllm"}
    assert summary["writing"]["tokens"] > 60
    assert (tmp_path / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "run" / "answers.jsonl").read_bytes()
    assert evaluate_retention(bench, BOOKS, streams, silent) == results
    for other in (
        lambda: evaluate_retention(bench, BOOKS[1:], streams, silent),
        lambda: evaluate_layouts(bench, BOOKS, streams, silent),
        lambda: evaluate_retention(
            bench, BOOKS, Streams(RetentionSizes(1, (0, 31)), 2, tmp_path / "run"), silent
        ),
    ):
        with pytest.raises(RunMismatchError):
            other()
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == before


def test_layouts_and_question_sets_run_the_same_way(bench: Bench, tmp_path: Path) -> None:
    streams = Streams(RetentionSizes(1, (0,)), 1, tmp_path / "notes")
    results = evaluate_layouts(bench, BOOKS, streams, silent)
    assert {one.kind for one in results.cells} == set(LAYOUTS)
    asked = [Asked(f"What is {i}?", (str(i),), f"It is {i}. So it is.", str(i)) for i in range(3)]
    streams = Streams(RetentionSizes(2, (0, 30)), 1, tmp_path / "questions")
    results = evaluate_questions(bench, QuestionSet(asked, 3, "abc"), streams, silent)
    assert [one.asked for one in results.cells] == [2] * 5
