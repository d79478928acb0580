"""Benchmarks that compare systems: what each claims of itself."""

import importlib
import json
import math
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_what_is_known_by_heart_shows_where_nothing_was_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    by_heart: Any = importlib.import_module("by_heart")
    given = ["--model", "nano", "--system", "mplus", "--items", "3"]
    monkeypatch.setattr(sys, "argv", ["by_heart", *given])
    by_heart.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    counts = {(row["system"], row["source"]): row["right"] for row in rows}
    told, another, nothing, held_out = counts["mplus", "notes"]
    # The nano reads notes and knows none by heart.
    assert told[0] >= 2
    assert held_out[0] >= 2
    assert another == nothing == [0, 3]


def test_two_systems_are_compared_question_by_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paired: Any = importlib.import_module("paired")
    for name, losses in (("one", [1.0, 3.0, 9.0]), ("other", [2.0, 4.5, 9.5])):
        head = {"task": "perplexity", "system": name}
        lines = [
            {"seed": 0, "key": str(place), "wanted": 1000, "scores": [[-loss * 10, 10]]}
            for place, loss in enumerate(losses)
        ]
        (tmp_path / name).mkdir()
        text = "\n".join(json.dumps(line) for line in [head, *lines])
        (tmp_path / name / "answers.jsonl").write_text(text)
    given = ["paired", str(tmp_path), "--system", "one", "--against"]
    monkeypatch.setattr(sys, "argv", [*given, "other"])
    paired.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["difference"] == pytest.approx(-1)
    assert found["half"] == pytest.approx(1.96 * 0.5 / 3**0.5)
    assert found["questions"] == 3
    monkeypatch.setattr(sys, "argv", [*given, "a third"])
    with pytest.raises(SystemExit, match="there are one, other"):
        paired.main()


def test_right_answers_are_compared_by_kind_and_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was never told stands apart, what failed or only one was asked is left out."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paired: Any = importlib.import_module("paired")
    for name, right in (("one", [1, 1, 1, 0]), ("other", [1, 0, 0, 0])):
        lines = [answer(f"note/{place}", right[place]) for place in range(4)]
        lines.append(answer("never told/0", right[1], kind="never told", answers=[]))
        lines.append({"seed": 0, "key": "note/9", "kind": "note", "wanted": 0, "error": "lost"})
        lines += [answer("note/8", 1)] if name == "one" else []
        lines.append({"seed": 0, "key": "end", "tokens": 5})
        (tmp_path / name).mkdir()
        text = "\n".join(json.dumps(one) for one in [{"task": "retention", "system": name}, *lines])
        (tmp_path / name / "answers.jsonl").write_text(text)
    given = ["paired", str(tmp_path), "--system", "one", "--against", "other"]
    monkeypatch.setattr(sys, "argv", given)
    paired.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["questions"] == 5
    note, never, everything = found["right"]
    assert (note["kind"], note["wanted"], note["asked"]) == ("note", 4000, 4)
    assert note["right"] == [3, 1]
    assert note["alone"] == [2, 0]
    assert note["difference"] == 0.5
    assert note["low"] < 0.5 < note["high"]
    assert note["chance"] == 0.5
    assert never["kind"] == "never told"
    assert {**note, "kind": "all", "wanted": None} == everything
    monkeypatch.setattr(sys, "argv", [*given, "--kind", "note", "--wanted", "16000"])
    with pytest.raises(SystemExit, match="no such questions"):
        paired.main()


def answer(
    key: str, right: int, kind: str = "note", answers: list[str] | None = None
) -> dict[str, Any]:
    """A line of a run."""
    wanted = ["it"] if answers is None else answers
    asked = {"seed": 0, "key": key, "kind": kind, "wanted": 4000, "answers": wanted}
    return {**asked, "right": bool(right), "credit": float(right)}


def test_pairs_have_the_published_interval_and_the_exact_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Newcombe (1998), his example of 50 pairs; and where nothing differs it has a width."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pairs = importlib.import_module("intervals").Pairs
    found = pairs(20, 12, 2, 16)
    assert found.interval == pytest.approx((0.0562, 0.3292), abs=1e-4)
    assert found.chance == pytest.approx(2 * sum(math.comb(14, n) for n in range(3)) / 2**14)
    low, high = pairs(0, 0, 0, 10).interval
    assert low == -high < -0.2
    assert pairs(0, 0, 0, 10).chance == 1


def test_intervals_of_pairs_hold_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pairs = importlib.import_module("intervals").Pairs
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    random, held = Random(1), 0
    for _ in range(500):
        drawn = random.choices(kinds, (0.3, 0.2, 0.1, 0.4), k=40)
        low, high = pairs.of(drawn).interval
        held += low <= 0.1 <= high
    assert 0.92 <= held / 500 <= 0.99
