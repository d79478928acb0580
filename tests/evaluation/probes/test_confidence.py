from __future__ import annotations

from pathlib import Path

from tests.fakes import make_mplus

from memplus.data.stream import Texts
from memplus.evaluation.engine.curves import draw_trade_off
from memplus.evaluation.engine.results import encode_with
from memplus.evaluation.probes.confidence import Asked, ask_with_confidence, trade_off
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


def test_notes_and_what_was_never_told_are_asked(tmp_path: Path) -> None:
    model = make_mplus()
    texts = Texts.of(["The road went down to the sea. Nobody was there. "] * 3, encode_with(model))
    steps: list[tuple[str, int, int]] = []
    answers = ask_with_confidence(
        model, texts, RetentionSizes(4, (50,)), 0, lambda *step: steps.append(step)
    )
    assert sum(one.answerable for one in answers) == 4
    assert sum(not one.answerable for one in answers) == 2
    assert all(0 < one.confidence <= 1 for one in answers)
    assert steps[-1][1] == steps[-1][2]
    path = tmp_path / "trade.png"
    draw_trade_off(trade_off(answers), title="a title", path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
