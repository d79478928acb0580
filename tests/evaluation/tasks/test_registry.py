"""The benchmarks by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from memplus.bench import make_task
from memplus.data.notes import MOST_SUBJECTS, make_notes
from memplus.errors import ConfigError
from memplus.evaluation.tasks.registry import TASKS, task_class


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="task cannot be 'recall'"):
        task_class("recall")
    for name in TASKS:
        assert task_class(name).name == name


def line(kind: str, wanted: int, said: str, *, right: bool) -> dict[str, Any]:
    """As a run records an answer, with all that any task looks at."""
    return {
        "key": "1/given", "kind": kind, "wanted": wanted, "said": said, "answers": ["red"],
        "right": right, "credit": float(right), "declined": False, "seconds": 0.5, "bytes": 8,
        "scores": [[-8.0 if right else -16.0, 4]],
    }  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_headline_is_one_figure_of_every_line_whatever_its_kind_and_length(name: str) -> None:
    task = task_class(name)()
    lines = [line("a", 0, "It is red.", right=True), line("b", 9, "No.", right=False)]
    (found,) = task.headline(lines)
    assert (found.asked, found.wanted) == (2, None)
    expected = math.exp(24 / 8) if name == "perplexity" else 0.5
    assert found.value == pytest.approx(expected)
    assert task.headline([]) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("retention", "never told"), ("locomo", "adversarial"),
                       ("longmemeval", "abstention")],
)  # fmt: skip
def test_what_is_to_be_declined_is_in_no_headline(name: str, kind: str) -> None:
    (found,) = task_class(name)().headline(
        [line("a", 0, "red", right=True), line(kind, 0, "red", right=False)]
    )
    assert (found.asked, found.value) == (1, 1.0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        *((name, {"items": "0"}, "items cannot be 0: it must be at least 1") for name in TASKS),
        ("retention", {"items": "-3"}, "items cannot be -3"),
        ("retention", {"seeds": "0"}, "seeds cannot be 0"),
        ("retention", {"lengths": "-5000"}, "lengths cannot be -5000: it must be at least 0"),
        ("retention", {"lengths": "0,1000,0"}, "lengths cannot be 0: it is named twice"),
        ("retention", {"kinds": "notes,notes"}, "kinds cannot be 'notes': it is named twice"),
        ("retention", {"items": "2001"}, "items cannot be 2001: there are names for 2000"),
        ("recognition", {"items": "1001"}, "items cannot be 1001: there are names for 1000"),
        ("recognition", {"seeds": "0"}, "seeds cannot be 0"),
        ("recognition", {"choices": "1"}, "choices cannot be 1: it must be at least 2"),
        ("perplexity", {"window": "0"}, "window cannot be 0"),
        ("perplexity", {"seeds": "0"}, "seeds cannot be 0"),
        ("perplexity", {"lengths": "1000,2000"}, "lengths cannot be 2000: the 32 windows after"),
        ("sort", {"ends": "first,first"}, "ends cannot be 'first': it is named twice"),
        ("sort", {"lengths": "250,250"}, "lengths cannot be 250"),
        ("sort", {"segments": "20,20"}, "segments cannot be 20"),
        ("babilong", {"tasks": "1,1"}, "tasks cannot be 1: it is named twice"),
        ("babilong", {"lengths": "1000,0,1000"}, "lengths cannot be 1000"),
        ("conflicts", {"lengths": "-1"}, "lengths cannot be -1"),
        ("locomo", {"conversations": "0"}, "conversations cannot be 0"),
        ("longmemeval", {"lengths": "0"}, "lengths cannot be 0"),
        ("ruler", {"kinds": "single,single"}, "kinds cannot be 'single'"),
        ("ruler", {"kinds": "simple"}, "kinds cannot be 'simple': there are single_noise"),
    ],
)
def test_options_that_ask_nothing_or_something_twice_are_refused(
    name: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make_task(name, options, small=False)


def test_more_notes_than_there_are_names_for_are_refused_where_notes_are_told() -> None:
    assert make_task("retention", {"items": "2001", "kinds": "statements"}, small=False)
    for split in ("train", "held_out"):
        notes = make_notes(0, MOST_SUBJECTS, split)  # type: ignore[arg-type]
        assert len({one.subject for one in notes}) == MOST_SUBJECTS
    with pytest.raises(ValueError, match="there are names for 16000 subjects, not for 16001"):
        make_notes(0, MOST_SUBJECTS + 1, "train")


def test_options_are_checked_together_however_they_are_given() -> None:
    wide = {"window": "512"}
    with pytest.raises(ConfigError, match="lengths cannot be 16000"):
        make_task("perplexity", wide, small=False)
    assert make_task("perplexity", wide, small=False, lengths=(1000, 32_000))
    assert make_task("perplexity", {"window": "400"}, small=True)
    for name in TASKS:
        kind = task_class(name)
        assert make_task(name, {}, small=True) == kind.small()
        assert make_task(name, {}, small=False) == kind()
