from typing import Any

import pytest

from memplus.errors import DamagedRunError
from memplus.evaluation.engine.recorder import END, Cursor, InMemory

FIGURES = (
    "kind", "wanted", "distance", "question", "answers", "said", "right", "credit", "declined",
    "outdated", "seconds", "bytes",
)  # fmt: skip


def answer(key: str) -> dict[str, Any]:
    return {"plan": "p", "key": key, "system": "s", **dict.fromkeys(FIGURES, 0)}


def end(plan: str = "p") -> dict[str, Any]:
    return {
        "plan": plan, "key": END, "system": "s", "tokens": 1, "write_seconds": 0.0, "bytes": 1,
    }  # fmt: skip


def cursor(*lines: dict[str, Any], scored: bool = False) -> Cursor:
    kept = InMemory()
    for line in lines:
        kept.append(line)
    return Cursor(kept, scored=scored)


def head(key: str) -> dict[str, Any]:
    return {"plan": "p", "key": key, "system": "s"}


def test_answers_are_passed_in_order_wherever_an_end_stands() -> None:
    for lines in (
        [answer("a"), answer("b"), end()],
        [answer("a"), end(), answer("b")],
        [end(), answer("a"), answer("b")],
    ):
        found = cursor(*lines)
        assert found.holds(2)
        assert not found.holds(3)
        assert [found.passes(head(key)) for key in ("a", "b", "c")] == [True, True, False]
        found.require_no_more({("p", "s")})
        with pytest.raises(DamagedRunError):
            found.require_no_more(set())


def test_another_answer_and_one_without_figures_are_damaged_and_their_line_is_named() -> None:
    found = cursor(answer("a"), answer("x"))
    assert found.passes(head("a"))
    with pytest.raises(DamagedRunError, match="line 3"):
        found.passes(head("b"))
    lacking = answer("a")
    del lacking["said"]
    with pytest.raises(DamagedRunError, match="line 2"):
        cursor(lacking).passes(head("a"))
    with pytest.raises(DamagedRunError, match="line 2"):
        cursor(answer("a"), scored=True).passes(head("a"))


def test_what_failed_is_not_known_and_what_comes_of_it_takes_its_place() -> None:
    failed = {"error": "it failed"}
    found = cursor(answer("a"), head("b") | failed, answer("c"), end() | failed)
    assert found.holds(1)
    assert not found.holds(2)
    assert not found.ended("p", "s")
    for key in "abcd":
        found.takes(head(key), {"said": key})
    found.ends_with("p", "s", {"tokens": 7})
    lines = found.recorder.lines
    assert [one["key"] for one in lines] == ["a", "b", "c", END, "d"]
    assert [one.get("said") for one in lines] == [0, "b", 0, None, "d"]
    assert lines[3]["tokens"] == 7
    assert not any("error" in one for one in lines)
    assert found.ended("p", "s")


def test_an_end_that_stands_twice_or_lacks_its_figures_is_damaged() -> None:
    with pytest.raises(DamagedRunError, match="line 3"):
        cursor(end(), end())
    cursor(end(), end("q"))
    lacking = end()
    del lacking["bytes"]
    with pytest.raises(DamagedRunError, match="line 2"):
        cursor(lacking)


def test_answers_beyond_those_that_are_asked_are_damaged() -> None:
    found = cursor(answer("a"), answer("b"))
    assert found.passes(head("a"))
    with pytest.raises(DamagedRunError, match="line 3"):
        found.require_no_more(set())
