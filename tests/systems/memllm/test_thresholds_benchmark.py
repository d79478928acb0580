"""``benchmarks/memllm_thresholds.py``: which distances are chosen, by what they find."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tests.systems.conftest import SHARED
from torch import Tensor

from memplus.data.spoken_facts import SpokenFact, SpokenFacts
from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.retrieval import SETTINGS, Thresholds

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
TURNS = {"Ada Moss": 0.0, "A. Moss": 0.4, "Ida Moss": 0.7, "pet": 2.0, "animal": 2.4, "owl": 1.0}
"""Directions of some texts, as angles; a distance is one minus the cosine of a difference."""
STRICT, MIDDLE, LOOSE = (
    Thresholds(0.01, 0.01, 0.01), Thresholds(0.1, 0.1, 0.1), Thresholds(0.4, 0.4, 0.4)
)  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("memllm_thresholds")


def embed(texts: Sequence[str]) -> Tensor:
    angles = torch.tensor([TURNS.get(text, 4.0) for text in texts])
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def fact(subject: str, relation: str, value: str) -> SpokenFact:
    return SpokenFact(subject, relation, value, "", "", "", "")


def test_a_query_is_found_with_all_its_ends_and_false_with_any_other(script: Any) -> None:
    table = script.memory_of([fact("Ada Moss", "pet", "owl")], embed)
    asked = [
        script.Case("as stored", Query("Ada Moss", "pet", None), frozenset({"owl"})),
        script.Case("end otherwise", Query("A. Moss", "pet", None), frozenset({"owl"})),
        script.Case("relation otherwise", Query("Ada Moss", "animal", None), frozenset({"owl"})),
        script.Case("unknown end", Query("Ida Moss", "pet", None), frozenset()),
    ]
    for thresholds, found, false in ((STRICT, 0, 0), (MIDDLE, 2, 0), (LOOSE, 2, 1)):
        score = script.scored(table, asked, thresholds)
        assert score.found["as stored"] == (1, 1)
        assert score.found_of() == (found, 2)
        assert score.false_of() == (false, 3)
    both = script.Case("as stored", Query("Ada Moss", "pet", None), frozenset({"owl", "cat"}))
    score = script.scored(table, [both], LOOSE)
    assert (score.found["as stored"], score.false["as stored"]) == ((0, 1), (0, 1))


def test_those_that_find_most_are_chosen_where_false_hits_are_few_enough(script: Any) -> None:
    def score(found: int, false: int) -> Any:
        return script.Score({"end otherwise": (found, 10)}, {"end otherwise": (false, 10)})

    scores = {STRICT: score(4, 0), MIDDLE: score(7, 1), LOOSE: score(9, 3)}
    assert script.chosen(scores, 0.0) == [STRICT]
    assert script.chosen(scores, 0.1) == [MIDDLE, STRICT]
    assert script.chosen(scores, 0.3) == [LOOSE, MIDDLE, STRICT]
    equal = {MIDDLE: score(4, 0), STRICT: score(4, 0)}
    assert script.chosen(equal, 0.0) == [STRICT, MIDDLE]


def test_queries_know_their_right_ends_and_ask_for_nothing_that_is_there(script: Any) -> None:
    made = SpokenFacts("held_out")
    facts = [made.draw(Random(number)) for number in range(60)]
    strangers = ["Nora Vell", "Tom Hask"]
    asked = script.cases(facts, strangers, Random(1))
    stored = {(one.subject, one.relation) for one in facts}
    values = {(one.value, one.relation) for one in facts}
    assert {one.group for one in asked} == {script.AS_STORED, *script.FALSE_GROUPS}
    for one in asked:
        ends = (one.query.subject, one.query.relation)
        if one.group == script.AS_STORED:
            assert ends in stored
        else:
            assert ends not in stored
        assert (one.query.object, one.query.relation) not in values
        assert bool(one.right) == (not one.group.startswith("unknown"))
    said = [one.query.subject for one in asked if one.group == "unknown end"]
    assert said == strangers
    seen = [one for one in asked if one.group == "relation otherwise"]
    assert all(one.query.relation in script.OTHERWISE.values() for one in seen)


def test_the_command_compares_the_grid_with_the_published_settings(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memllm = importlib.import_module("memllm")
    monkeypatch.setattr(memllm.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    monkeypatch.setattr(script, "GRID", (STRICT, LOOSE))
    memllm.main(["grid", "--count", "6", "--false", "1"])
    printed = capsys.readouterr().out.splitlines()
    found = json.loads(printed[-1])
    rows = {one["setting"]: one for one in found["rows"]}
    assert {*SETTINGS, "chosen"} <= {*rows}
    assert found["chosen"] == rows["chosen"]["thresholds"]
    assert found["chosen"] in ([0.4, 0.4, 0.4], [0.01, 0.01, 0.01])
    for name in SETTINGS:
        assert any(line.startswith(f"| {name} |") for line in printed)
    shares = rows["chosen"]["checked_on"]
    assert shares["found"]["of"] > 0
    stored = shares["by_group"]["as stored"]["found"]
    assert stored["count"] == stored["of"] == 6
    memllm.main(["grid", "--count", "6", "--false", "-1"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["chosen"] is None
