"""The golden decisions of the published dialogue memory: every scenario, and every group."""

import json
from itertools import product
from typing import Any

import pytest
import torch
from tests.systems.golden import golden_folder

from memplus.systems.scm.grouping import grouped
from memplus.systems.scm.ranking import cosines, nearest
from memplus.systems.scm.selection import (
    Chosen,
    Form,
    Limits,
    Selection,
    flash_of,
    select,
    select_naively,
)

LIMITS = Limits(total=2500, flash=500)


class Told:
    """Turns of a scenario; keeps the questions that it was asked."""

    def __init__(self, scenario: dict[str, Any], judge: list[dict[str, bool]]) -> None:
        self.scenario = scenario
        self.judge = judge
        self.calls: list[list[object]] = []

    def tokens(self, turn: int) -> int:
        return int(self.scenario["turn_tokens"][turn])

    def summary_tokens(self, turn: int) -> int:
        return int(self.scenario["summary_tokens"][turn])

    def answers(self, turn: int, form: Form) -> bool:
        said = self.judge[turn][form]
        self.calls.append([turn, form, said])
        return said


def scenarios(kind: str = "") -> list[dict[str, Any]]:
    """Of one kind: ``naive``, ``hangs``, or those that are neither."""
    path = golden_folder("scm") / "selection.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["scenarios"]
    return [one for one in found if _kind(one) == kind]


def _kind(scenario: dict[str, Any]) -> str:
    return next((name for name in ("hangs", "naive") if scenario.get(name)), "")


def scores_of(scenario: dict[str, Any]) -> list[float]:
    query = torch.tensor(scenario["query"], dtype=torch.float64)
    return cosines(query, torch.tensor(scenario["embeddings"], dtype=torch.float64)[:-1])


def ran(
    scenario: dict[str, Any],
    judge: list[dict[str, bool]],
    limits: Limits = LIMITS,
    scores: list[float] | None = None,
) -> tuple[Selection, Told]:
    turns = Told(scenario, judge)
    flash = flash_of(len(scenario["turn_tokens"]) - 1, turns, limits)
    ranked = nearest(scores_of(scenario) if scores is None else scores, scenario["k"])
    rule = select_naively if scenario.get("naive") else select
    return rule(ranked, flash, turns, limits), turns


def rows(chosen: tuple[Chosen, ...]) -> list[list[object]]:
    return [[one.turn, one.form, one.tokens] for one in chosen]


def flash_as_published(scenario: dict[str, Any], chosen: Chosen | None) -> dict[str, object]:
    """What the published code gives at exactly the limit, where it counts the text but gives the
    summary; ours gives what it counts."""
    assert chosen is not None
    if scenario["turn_tokens"][-1] == LIMITS.flash:
        assert (chosen.form, chosen.tokens) == ("raw", LIMITS.flash)
        return {"form": "summary", "tokens": scenario["summary_tokens"][-1]}
    return {"form": chosen.form, "tokens": chosen.tokens}


def test_golden_cosines() -> None:
    for one in scenarios() + scenarios("naive"):
        assert scores_of(one) == pytest.approx(one["cosines"], abs=1e-6), one["seed"]


def test_golden_questions_and_choices() -> None:
    for one in scenarios():
        found, turns = ran(one, one["judge"])
        assert turns.calls == one["calls"], one["seed"]
        assert rows(found.activation) == one["chosen"], one["seed"]
        assert flash_as_published(one, found.flash) == one["flash"], one["seed"]


def test_golden_ablation_without_a_controller() -> None:
    if not scenarios("naive"):
        pytest.skip("selection.json has no history that is called up without a controller")
    for one in scenarios("naive"):
        found, turns = ran(one, [])
        assert turns.calls == [], one["seed"]
        assert flash_as_published(one, found.flash) == one["flash"], one["seed"]
        # A first text that is too long is cut by tokens here, by characters there.
        cut = found.activation[0].cut
        ours, theirs = rows(found.activation), one["chosen"]
        assert [row[:2] if cut else row for row in ours] == [
            row[:2] if cut else row for row in theirs
        ], one["seed"]


def test_golden_histories_without_an_end_in_the_published_code_end() -> None:
    for one in scenarios("hangs"):
        count = len(one["turn_tokens"])
        for answers in product([True, False], repeat=2):
            judge = one.get("judge") or [dict(zip(("raw", "summary"), answers))] * count
            found, _ = ran(one, judge, scores=None if "query" in one else list(range(count - 1)))
            assert found.tokens <= LIMITS.total, one["seed"]
            assert found.activation, one["seed"]


def test_golden_groups() -> None:
    content = json.loads((golden_folder("scm") / "selection.json").read_text())
    for one in content["groups"]:
        assert grouped(one["lengths"], one["limit"]) == one["groups"]
