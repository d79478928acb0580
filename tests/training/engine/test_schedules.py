from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from memplus.training.engine.schedules import Schedule, rate_factor


def test_written_forms() -> None:
    assert Schedule.parse(4).points == ((0, 4, 4),)
    assert Schedule.parse([2, 8]).points == ((0, 2, 8),)
    schedule = Schedule.parse({10: [2, 8], 0: 1})
    assert schedule.points == ((0, 1, 1), (10, 2, 8))
    assert (schedule.lowest, schedule.highest) == (1, 8)
    assert Schedule.parse(schedule) is schedule


@pytest.mark.parametrize("wrong", ["many", 0, [3, 2], [1, 2, 3], {5: 1}, {}, 1.5, True, {"a": 1}])
def test_other_forms_are_refused(wrong: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Schedule.parse(wrong)


def test_a_range_holds_from_its_step_on() -> None:
    schedule, random = Schedule.parse({0: 1, 10: [2, 8], 20: 9}), Random(0)
    assert {schedule.draw(9, random) for _ in range(50)} == {1}
    assert {schedule.draw(10, random) for _ in range(300)} == set(range(2, 9))
    assert schedule.draw(99, random) == 9


def test_every_doubling_is_as_likely() -> None:
    random, schedule = Random(0), Schedule.parse([8, 127])
    drawn = Counter(schedule.draw(0, random).bit_length() for _ in range(8000))
    assert drawn.keys() == {4, 5, 6, 7}
    assert all(0.22 < count / 8000 < 0.28 for count in drawn.values())


def test_rates_rise_and_fall() -> None:
    for kind in ("constant", "linear", "cosine"):
        factors = [rate_factor(kind, step, 100, 10, 0.1) for step in range(101)]
        assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
        assert factors[10] == pytest.approx(1.0)
        assert factors[100] == pytest.approx(1.0 if kind == "constant" else 0.1)
        assert all(later <= earlier for earlier, later in pairwise(factors[10:]))
    assert rate_factor("linear", 55, 100, 10, 0.1) == pytest.approx(0.55)
    assert rate_factor("cosine", 55, 100, 10, 0.1) == pytest.approx(0.55)
