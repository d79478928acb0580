"""``benchmarks/scm_ablations.py``: what is asked, when, and what each ablation cannot see."""

import argparse
import importlib
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.systems.scm.tiny import SIZES, WIDE

from memplus.data.stream import RunningText, Texts
from memplus.evaluation.tasks.told import Item

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
PROSE = "It rained {here}. Nobody came out. " * 60
COLOURS = ("red", "blue", "green", "white")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("scm_ablations")


def dialogue(script: Any) -> Any:
    items = [
        Item("statement", f"Gate {one} is {one}.", ((f"Which gate is {one}?", (one,)),), (0,))
        for one in COLOURS
    ]
    others = [f"Other {number}." for number in range(30)]
    sizes = argparse.Namespace(turns=16, near=3, turn_tokens=40)
    text = RunningText(Texts.of([PROSE], WIDE.reference), 0)
    return script.make_dialogue(items, others, text, sizes, Random(0))


def test_each_statement_is_asked_for_at_once_later_and_at_the_end(script: Any) -> None:
    made = dialogue(script)
    assert len(made.turns) == 16
    for colour in COLOURS:
        mine = [one for one in made.asked if one.answers == ((colour,),)]
        assert [one.kind for one in mine] == ["previous turn", "nearer", "farther"]
        (place,) = mine[0].turns
        assert f"Gate {colour} is {colour}." in made.turns[place][0]
        assert place < 8
        assert [one.after for one in mine] == [place + 1, place + 4, 16]
    for said, answered in made.turns:
        assert said.startswith("User: ")
        assert "It rained {here}." in said
        assert answered.startswith("Assistant: ")


def test_a_question_about_two_turns_is_right_only_with_both_answers(script: Any) -> None:
    pairs = [one for one in dialogue(script).asked if one.kind == "multi-turn"]
    assert [one.answers for one in pairs] == [(("red",), ("blue",)), (("green",), ("white",))]
    assert all(len(one.turns) == 2 for one in pairs)
    assert pairs[0].answered_by("The red one, and the blue one.")
    assert not pairs[0].answered_by("The red one.")
    assert "red" in pairs[0].text
    assert "blue" in pairs[0].text


@pytest.mark.parametrize(
    "sizes", [["--items", "1"], ["--near", "0"], ["--turns", "8", "--items", "5"]], ids=str
)
def test_sizes_that_do_not_fit_are_refused(script: Any, sizes: list[str]) -> None:
    with pytest.raises(SystemExit):
        script.main(sizes)


@pytest.mark.long
def test_without_flash_memory_the_previous_turn_is_missed_and_without_activation_all_others(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prose = tmp_path / "prose.txt"
    prose.write_text(PROSE, encoding="utf-8")
    options = script.SCMOptions
    wide = {**SIZES, "limit": 600, "flash_limit": 400, "summary_above": 400}

    def made(**given: Any) -> Any:
        return options(**{**wide, "controller": "yes", **given})

    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: WIDE.mplus)
    monkeypatch.setattr(script, "SCMOptions", made)
    sizes = ["--dialogues", "1", "--turns", "8", "--items", "2", "--near", "1", "--k", "2"]
    script.main([*sizes, "--turn-tokens", "20", "--texts", str(prose)])
    printed = capsys.readouterr().out.splitlines()
    found = json.loads(printed[-1])
    assert found["questions"] == 7
    rows = {row["row"]: row for row in found["rows"]}
    assert list(rows) == list(script.ROWS)
    for row in rows.values():
        assert row["right"]["of"] == row["turns in the prompt"]["of"] == 7
        counts = [row[kind]["of"] for kind in ("previous turn", "nearer", "farther", "multi-turn")]
        assert counts == [2, 2, 2, 1]
        assert row["single-turn"]["of"] == 6
    there = {name: row["turns in the prompt"]["count"] for name, row in rows.items()}
    assert there["without activation memory"] == 2
    assert there["without flash memory"] <= there["SCM"] - 2
    tokens = {name: row["tokens called up"] for name, row in rows.items()}
    assert tokens["without activation memory"] < tokens["SCM"]
    for row in found["rows"][1:]:
        assert row["less_than_scm"]["low"] <= 0 <= row["less_than_scm"]["high"]
