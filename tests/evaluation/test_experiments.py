"""Whole evaluations into a folder, on a tiny model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.conftest import BOOKS, silent

from memplus import MPlus
from memplus.data.passages import PassageQuestion, PassageQuestions
from memplus.data.questions import Asked, QuestionSet
from memplus.errors import RunMismatchError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.experiments import (
    Streams,
    Tellings,
    evaluate_alone,
    evaluate_layouts,
    evaluate_questions,
    evaluate_retention,
    evaluate_told,
)
from memplus.evaluation.tasks.held_out import HeldOut, passage_items
from memplus.evaluation.tasks.note_layouts import LAYOUTS
from memplus.evaluation.tasks.retention import RetentionSizes


@pytest.mark.long
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
    turned = replace(bench, systems=bench.systems[::-1])  # named in another order
    assert evaluate_retention(turned, BOOKS, streams, silent) == results
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


@pytest.mark.long
def test_layouts_and_question_sets_run_the_same_way(bench: Bench, tmp_path: Path) -> None:
    streams = Streams(RetentionSizes(1, (0,)), 1, tmp_path / "notes")
    results = evaluate_layouts(bench, BOOKS, streams, silent)
    assert {one.kind for one in results.cells} == set(LAYOUTS)
    asked = [Asked(f"What is {i}?", (str(i),), f"It is {i}. So it is.", str(i)) for i in range(3)]
    streams = Streams(RetentionSizes(2, (0, 30)), 1, tmp_path / "questions")
    results = evaluate_questions(bench, QuestionSet(asked, 3, "abc"), streams, silent)
    assert [one.asked for one in results.cells] == [2] * 5


def held_out(count: int = 40) -> HeldOut:
    asked = PassageQuestion("Where is it?", ("here",))
    passages = [
        PassageQuestions(f"It is here {i}.", f"Topic {i % 8}", (asked,)) for i in range(count)
    ]
    return HeldOut(passage_items("set", passages, (0, 30)), tuple(passages))


@pytest.mark.long
def test_what_is_told_in_a_stream_is_also_told_alone(bench: Bench, tmp_path: Path) -> None:
    told = Tellings(held_out(), items=3, seeds=2, folder=tmp_path / "told")
    results = evaluate_told(bench, BOOKS, told, silent)
    asked = {(one.kind, one.system, one.wanted): one.asked for one in results.cells}
    assert asked["set", "mplus", 0] == asked["set", "memoryllm", 30] == 6
    assert asked["never told", "mplus", 0] == 2
    assert asked["never told", "nothing", None] == 2
    lines = (tmp_path / "told" / "answers.jsonl").read_text().splitlines()
    assert all("confidence" in line for line in lines if '"mplus"' in line and "wanted" in line)
    alone = Tellings(held_out(), items=3, seeds=2, folder=tmp_path / "alone")
    results = evaluate_alone(bench, alone, silent)
    assert {(one.kind, one.wanted, one.asked) for one in results.cells} == {
        ("set", 0, 6), ("set", None, 6),
    }  # fmt: skip
    before = (tmp_path / "alone" / "answers.jsonl").read_bytes()
    assert evaluate_alone(bench, alone, silent) == results
    assert (tmp_path / "alone" / "answers.jsonl").read_bytes() == before
    with pytest.raises(RunMismatchError, match="held_out"):
        evaluate_alone(bench, Tellings(held_out(39), 3, 2, tmp_path / "alone"), silent)
