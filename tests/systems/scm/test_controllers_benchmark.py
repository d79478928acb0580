"""``benchmarks/scm_controllers.py``: the oracle is right, and what is counted is what was asked."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.systems.scm.tiny import SENTENCES, SIZES, WIDE, small, told

from memplus.systems.scm.controller import Controller, Thresholds

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("scm_controllers")


def test_the_oracle_lets_the_turn_with_the_answer_pass_and_no_other(script: Any) -> None:
    system = small()
    oracle = system.frame.controller = script.Checked(None)
    session = told(system, SENTENCES)
    holding = session.stream.turns[0]
    oracle.about = script.Asked("Which?", ("Red",), heads=frozenset([holding.text.split("\n")[0]]))
    assert oracle.needs_memory("Which?")
    said = [oracle.answers(turn.text, "Which?") for turn in session.stream.turns]
    assert said == [True, False, False, False, False]
    assert not oracle.answers(holding.text.replace("red", "shut"), "Which?")
    oracle.about = script.Asked("Write a line.")
    assert not oracle.needs_memory("Write a line.")
    assert oracle.said["gate"] == [(True, True), (False, False)]


def test_another_controller_is_asked_and_compared_with_what_is_true(script: Any) -> None:
    checked = script.Checked(Controller(None, Thresholds()))
    checked.about = script.Asked("Write a line.")
    assert checked.needs_memory("Write a line.")
    assert checked.answers("[Turn 1]\nIt rained.", "Write a line.")
    assert checked.said == {"gate": [(False, True)], "answers": [(False, True)]}


@pytest.mark.long
def test_all_controllers_are_put_the_same_questions(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prose = tmp_path / "prose.txt"
    prose.write_text("It rained. Nobody came out. " * 60, encoding="utf-8")
    options = script.SCMOptions
    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: WIDE.mplus)
    monkeypatch.setattr(script, "SCMOptions", lambda **given: options(**SIZES, **given))
    sizes = ["--items", "3", "--requests", "2", "--tokens", "1500"]
    script.main([*sizes, "--texts", str(prose)])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["told"], found["turns"] > 10) == (3, True)
    plain, yes, oracle = found["rows"]
    assert [one["controller"] for one in found["rows"]] == ["plain", "yes", "oracle"]
    for row in found["rows"]:
        assert row["right"]["of"] == row["shown"]["of"] == 3
        assert row["needless"]["of"] == 2
        assert row["gate_right"]["of"] == 5
    for row in (plain, yes):
        assert row["oracle_more"]["low"] <= 0 <= row["oracle_more"]["high"]
        assert row["oracle_more"]["chance"] == 1
    assert yes["needless"]["count"] == 2
    assert yes["gate_right"]["count"] == 3
    assert yes["no_right"]["count"] == 0 < yes["no_right"]["of"]
    assert oracle["needless"]["count"] == 0
    for name in ("gate_right", "yes_right", "no_right"):
        assert oracle[name]["count"] == oracle[name]["of"]
