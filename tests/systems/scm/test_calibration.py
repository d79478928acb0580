import json
from pathlib import Path

import pytest

import memplus
from memplus.systems.scm.calibration import (
    Calibration,
    Measured,
    best_threshold,
    calibration_of,
    right_at,
)
from memplus.systems.scm.controller import Thresholds

SHIPPED = sorted((Path(memplus.__file__).parent / "assets" / "systems" / "scm").glob("*-*.json"))


def test_of_a_model_that_was_not_measured_yes_is_what_is_likelier() -> None:
    found = calibration_of("nobody", "plain")
    assert found.thresholds == Thresholds(0, 0)
    assert found.said == "controller not measured"
    assert found.identity == {"answers": None, "gate": None}
    assert calibration_of("/some/where/else", "plain") == found


def test_what_was_measured_is_said_and_kept_in_the_identity() -> None:
    found = Calibration(answers=Measured(0.5, 0.625, 0.58, 0.66, 1200))
    assert found.thresholds == Thresholds(gate=0, answers=0.5)
    assert found.said == "controller right in 62% [58%, 66%]"
    assert json.loads(json.dumps(found.identity))["answers"]["pairs"] == 1200


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_read(path: Path) -> None:
    model, _, controller = path.stem.rpartition("-")
    found = calibration_of(model, controller)  # type: ignore[arg-type]
    assert found.answers is not None
    assert found.answers.low <= found.answers.accuracy <= found.answers.high


def test_the_best_threshold_is_right_most_often() -> None:
    yes, no = [3.0, 2.0, 0.5], [-1.0, 0.0, 1.0]
    found = best_threshold(yes, no)
    assert right_at(found, yes, no) == 5
    assert all(right_at(place, yes, no) <= 5 for place in (-2, -1, 0, 0.5, 1, 2, 3, 4))
    assert right_at(best_threshold([0.0], [5.0]), [0.0], [5.0]) == 1
    assert best_threshold([1.0], [0.0]) == 1.0
