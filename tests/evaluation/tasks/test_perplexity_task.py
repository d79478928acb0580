"""The task perplexity: windows of a book, and the figure they come to."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.conftest import words
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError
from memplus.evaluation.benchmark_tables import shown
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.perplexity_task import PerplexityTask
from memplus.systems.registry import make_systems

BOOK = " ".join(f"Sentence number {index} of the book." for index in range(400))
TASK = PerplexityTask(lengths=(50, 200), items=3, window=20, seeds=1)


def inputs(*books: str) -> Inputs:
    return Inputs(Path("absent"), words, 6, lambda: books or (BOOK,))


def test_a_book_is_read_in_order_and_its_windows_are_what_comes_next() -> None:
    (plan,) = TASK.plans(inputs())
    asked = list(plan.questions)
    assert [one.wanted for one in asked] == [50, 50, 50, 200, 200, 200]
    assert plan.once == tuple(asked)
    read = ""
    for step in plan.steps:
        read += "".join(step.pieces)
        (question,) = step.questions
        (window,) = question.options
        assert BOOK.startswith(read + window)
        assert question.distance == len(read.split()) >= (question.wanted or 0)
        assert len(window.split()) >= TASK.window


def test_books_that_are_too_short_are_passed_over() -> None:
    plans = replace(TASK, seeds=2).plans(inputs("Short.", BOOK, BOOK))
    assert [plan.name for plan in plans] == ["book 0", "book 1"]
    with pytest.raises(ConfigError, match="seeds cannot be 3"):
        replace(TASK, seeds=3).plans(inputs("Short.", BOOK, BOOK))


def test_windows_that_reach_beyond_the_next_length_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"lengths cannot be 109: the 3 windows after 50 tokens"):
        replace(TASK, lengths=(50, 109))
    # A window ends with a sentence, so three of 20 words are 72 here.
    with pytest.raises(ConfigError, match="lengths cannot be 115"):
        replace(TASK, lengths=(50, 115)).plans(inputs())
    (plan,) = replace(TASK, lengths=(50, 126)).plans(inputs())
    assert {one.wanted: one.distance for one in reversed(plan.once)} == {50: 54, 126: 126}


def test_a_book_that_ends_before_its_last_window_is_passed_over() -> None:
    short = " ".join(f"{one}." for one in BOOK.split(".")[:36])
    long = " ".join(["word"] * 700)
    with pytest.raises(ConfigError, match="at least 860 tokens, and 0 of those given are so"):
        TASK.plans(inputs(f"{short} So {long}."))


def test_of_one_window_no_interval_is_shown() -> None:
    line = {"kind": "window", "wanted": 50, "seconds": 0.1, "bytes": 1, "scores": [[-30.0, 10]]}
    (found,) = TASK.figures([line])
    assert shown(found) == "20.09"
    assert shown(TASK.figures([line, line | {"scores": [[-20.0, 10]]}])[0]).startswith("12.18 (")


def test_perplexity_is_of_all_tokens_together() -> None:
    line = {"kind": "window", "wanted": 50, "seconds": 0.1, "bytes": 1}
    lines = [{**line, "scores": [[-30.0, 10]]}, {**line, "scores": [[-10.0, 10]]}]
    (found,) = TASK.figures(lines)
    assert found.value == pytest.approx(math.exp(2))
    assert found.low < found.value < found.high
    assert (found.measure, found.asked) == ("perplexity", 2)


def test_systems_predict_the_windows() -> None:
    task = replace(TASK, lengths=(20,), items=1, window=5)
    given = Inputs(Path("absent"), SHARED.reference, 6, lambda: (BOOK,))
    kept = InMemory()
    systems = make_systems(["mplus", "nothing"], SHARED)
    run_plans(systems, task.plans(given), task.judge, kept, lambda *_: None)
    asked = [line for line in kept.lines if line["key"] != "end"]
    assert len(asked) == 2
    assert all(line["scores"][0][0] < 0 < line["scores"][0][1] for line in asked)
