"""The page that compares systems."""

from __future__ import annotations

import re

from tests.evaluation.test_benchmark_tables import FOUND

from memplus.evaluation.comparison import marks_of
from memplus.evaluation.page import Made, machine_kind, page

MADE = Made("memplus bench all --small", "float32", 1, "The machine did other work beside it.")


def test_it_says_how_it_was_made_and_begins_with_one_figure_of_each_benchmark() -> None:
    text = page([FOUND], MADE)
    assert re.search(r"Made on \d{4}-\d\d-\d\d with nano in float32, 1 thread of ", text)
    assert "    memplus bench all --small\n\nThe machine did other work beside it.\n" in text
    assert "| M+ | 40 (30-50) |" in text
    assert "| SCM | cannot be asked |" in text
    assert "Questions: retention 10;" in text
    assert text.index("40 (30-50)") < text.index("## retention")
    assert [one["task"] for one in marks_of(text)] == ["retention"]


def test_the_machine_is_told_by_its_processors() -> None:
    assert re.match(r"\d+ x \S", machine_kind())
