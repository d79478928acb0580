"""How figures came about."""

from __future__ import annotations

import re

from memplus.evaluation.made import Made, machine_kind


def test_the_machine_is_told_by_its_processors() -> None:
    assert re.match(r"\d+ x \S", machine_kind())


def test_figures_are_of_this_day_and_this_machine() -> None:
    made = Made("memplus bench all", "float32", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
    assert made.machine == machine_kind()
