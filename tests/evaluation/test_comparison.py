"""When the figures of a page and the code have parted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.conftest import silent
from tests.evaluation.test_benchmark import INPUTS, Gate
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError
from memplus.evaluation.benchmark import run_benchmark
from memplus.evaluation.benchmark_tables import markdown
from memplus.evaluation.comparison import Parted, marks_of, parted
from memplus.fields import checked
from memplus.systems.registry import make_systems


def test_a_page_knows_its_questions_and_its_weights(tmp_path: Path) -> None:
    systems = make_systems(["mplus", "nothing"], SHARED)
    marks = marks_of(markdown([run_benchmark(systems, Gate(), INPUTS, tmp_path, silent)]))

    def of(colour: str = "red") -> list[Parted]:
        return parted(
            marks,
            lambda _, options: replace(checked(Gate, options), colour=colour),
            lambda name: make_systems([name], SHARED)[0],
            INPUTS,
        )

    assert of() == []
    assert of(colour="blue") == [Parted("gate", "plans")]
    marks[0]["systems"]["mplus"] = "0" * 16
    assert of() == [Parted("gate", "mplus")]


def test_a_system_that_cannot_be_opened_here_is_not_compared(tmp_path: Path) -> None:
    systems = make_systems(["nothing"], SHARED)
    marks = marks_of(markdown([run_benchmark(systems, Gate(), INPUTS, tmp_path, silent)]))
    marks[0]["systems"]["elsewhere"] = "0" * 16
    opened = {"nothing": systems[0], "elsewhere": None}
    assert parted(marks, lambda _, options: checked(Gate, options), opened.get, INPUTS) == []


def test_a_page_without_tables_is_refused() -> None:
    with pytest.raises(ConfigError, match="no tables"):
        marks_of("# Nothing")
