from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.conftest import silent

from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.curves import draw_trade_off
from memplus.evaluation.engine.summary import Threshold
from memplus.evaluation.experiments import evaluate_confidence
from memplus.evaluation.probes.confidence import (
    Asked,
    asked_of,
    choose,
    require_confidence,
    trade_off,
)
from memplus.evaluation.tasks.retention import NOTE, UNKNOWN, RetentionSizes

ANSWERS = [
    Asked(NOTE, answerable=True, right=True, declined=False, confidence=0.8),
    Asked(NOTE, answerable=True, right=True, declined=False, confidence=0.3),
    Asked(NOTE, answerable=True, right=False, declined=False, confidence=0.2),
    Asked(NOTE, answerable=True, right=False, declined=True, confidence=0.5),
    Asked(UNKNOWN, answerable=False, right=False, declined=False, confidence=0.4),
    Asked(UNKNOWN, answerable=False, right=True, declined=True, confidence=0.1),
]


def test_a_threshold_withholds_what_is_below_it() -> None:
    found = trade_off(ANSWERS)
    lowest, highest = found[0], found[-1]
    assert (lowest.min_confidence, highest.min_confidence) == (0.0, 0.8)
    assert (lowest.right, lowest.wrong) == (0.5, 0.5)
    assert (lowest.declined, lowest.wrongly_declined) == (0.5, 0.25)
    assert (highest.right, highest.wrong) == (0.25, 0.0)
    assert (highest.declined, highest.wrongly_declined) == (1.0, 0.75)
    middle = next(one for one in found if one.min_confidence > 0.2)
    assert (middle.right, middle.wrong) == (0.5, 1 / 3)


def test_nothing_asked_has_no_shares() -> None:
    assert all(one.right == one.wrong == 0 for one in trade_off([]))


def test_the_threshold_chosen_tells_the_untold_best_within_what_may_be_declined() -> None:
    found = [
        Threshold(0.0, 0.9, 0.5, 0.1, 0.0),
        Threshold(0.2, 0.9, 0.3, 0.6, 0.04),
        Threshold(0.3, 0.9, 0.3, 0.6, 0.04),
        Threshold(0.4, 0.8, 0.1, 0.9, 0.2),
        Threshold(0.6, 0.1, 0.1, 1.0, 0.9),
    ]
    assert choose(found, 0.1).min_confidence == 0.2
    assert choose(found, 0.2).min_confidence == 0.4
    assert choose(found, 1.0).min_confidence == 0.4
    assert choose(found[3:], 0.1).min_confidence == 0.4


@pytest.mark.long
def test_answers_are_taken_from_a_run_as_they_were_before_any_threshold(
    bench: Bench, tmp_path: Path
) -> None:
    texts = ["The road went down to the sea. Nobody was there. "] * 3
    one = Bench(bench.systems[:1], bench.reference)
    results = evaluate_confidence(one, texts, RetentionSizes(4, (50,)), 0, tmp_path, silent)
    answers = asked_of(results.lines, one.systems[0])
    assert sum(one.answerable for one in answers) == 4
    assert sum(not one.answerable for one in answers) == 2
    assert all(0 < one.confidence <= 1 for one in answers)
    path = tmp_path / "trade.png"
    draw_trade_off(trade_off(answers), title="a title", path=path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_withheld_answer_is_no_abstention_of_the_models_own(bench: Bench) -> None:
    said = {"key": "k", "system": "mplus", "kind": NOTE, "answers": ["a"], "right": True}
    lines = [
        said | {"said": "I have no note of that.", "declined": True, "confidence": 0.9},
        said | {"said": "a", "declined": True, "confidence": 0.1},
        said | {"system": "memoryllm"},
        {"key": "end", "system": "mplus"},
    ]
    assert [one.declined for one in asked_of(lines, bench.systems[0])] == [True, False]


def test_a_system_that_does_not_say_how_sure_it_is_cannot_be_measured(bench: Bench) -> None:
    require_confidence(bench.systems[0])
    with pytest.raises(ConfigError, match="'nothing': it does not say how sure"):
        require_confidence(bench.systems[2])
