from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.conftest import silent

from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.curves import draw_trade_off
from memplus.evaluation.probes.confidence import Asked, ask_with_confidence, trade_off
from memplus.evaluation.tasks.retention import NOTE, UNKNOWN, RetentionSizes, retention_plan

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


def test_notes_and_what_was_never_told_are_asked(bench: Bench, tmp_path: Path) -> None:
    texts = Texts.of(["The road went down to the sea. Nobody was there. "] * 3, bench.reference)
    plan = retention_plan(texts, bench.chunk, RetentionSizes(4, (50,)), 0)
    steps: list[tuple[str, int, int]] = []
    answers = ask_with_confidence(bench.systems[0], plan, lambda *step: steps.append(step))
    assert sum(one.answerable for one in answers) == 4
    assert sum(not one.answerable for one in answers) == 2
    assert all(0 < one.confidence <= 1 for one in answers)
    assert steps[-1][1] == steps[-1][2]
    path = tmp_path / "trade.png"
    draw_trade_off(trade_off(answers), title="a title", path=path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_system_that_does_not_say_how_sure_it_is_cannot_be_measured(
    bench: Bench, texts: Texts
) -> None:
    plan = retention_plan(texts, bench.chunk, RetentionSizes(1, (0,)), 0)
    with pytest.raises(ConfigError, match="'nothing': it does not say how sure"):
        ask_with_confidence(bench.systems[2], plan, silent)
