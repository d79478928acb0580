"""The page of figures is of the systems, questions and weights that there are today."""

import re
from pathlib import Path

import pytest
from tests.docs.test_readme import fetched_or_skipped

from memplus.cli.main import main
from memplus.evaluation.page import figures_file, read_benchmarks, stands_on
from memplus.evaluation.tasks.registry import TASKS
from memplus.systems.registry import described

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "comparison.md"
DATA = ROOT.parent / "shared" / "data"
FIGURES = {one.task: one for one in reversed(read_benchmarks(figures_file(PAGE)))}
"""Of the first size of each benchmark, at which all systems are asked."""


NOT_YET_RUN: set[str] = set()
"""Benchmarks of which the page has no figures yet."""


SYSTEMS_NOT_YET_RUN = {"in_weights"}
"""Systems of which the page has no figures yet."""


def test_every_benchmark_stands_on_the_page_or_is_named_here() -> None:
    assert FIGURES.keys() == set(TASKS) - NOT_YET_RUN


def test_every_system_whose_weights_come_along_stands_on_the_page_or_is_named_here() -> None:
    known = {str(one["name"]) for one in described()}
    there = {str(one["name"]) for one in described() if not one["missing"]}
    for task, one in FIGURES.items():
        named = {result.system.partition(":")[0] for result in one.results}
        assert there - SYSTEMS_NOT_YET_RUN <= named <= known - SYSTEMS_NOT_YET_RUN, task


def test_the_page_is_made_of_the_figures_beside_it() -> None:
    assert stands_on(PAGE, read_benchmarks(figures_file(PAGE)))


def test_the_page_says_how_it_was_made() -> None:
    assert re.search(r"^    memplus bench .*--small --dtype", PAGE.read_text(), flags=re.MULTILINE)


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason=f"question sets and books are not in {DATA}")
def test_its_figures_are_of_todays_questions_and_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetched_or_skipped("smollm2")
    with pytest.raises(SystemExit) as ended:
        main(["bench", "check", str(PAGE), "--data", str(DATA), "--dtype", "float32"])
    assert ended.value.code == 0, capsys.readouterr().out
