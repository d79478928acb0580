"""When the figures of a page and the code have parted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.conftest import silent
from tests.evaluation.test_benchmark import INPUTS, Gate
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError
from memplus.evaluation.benchmark import Benchmark, run_benchmark
from memplus.evaluation.comparison import Parted, differing, parted
from memplus.evaluation.engine.judging import JUDGING, Judge
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.page import put_on_page, read_benchmarks
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.fields import checked
from memplus.systems.bm25 import BM25System
from memplus.systems.passages_in_prompt import PassageOptions
from memplus.systems.protocol import System
from memplus.systems.registry import make_systems


@pytest.fixture
def on_page(tmp_path: Path) -> Benchmark:
    """As it is read back from the figures beside a page."""
    systems = make_systems(["mplus", "bm25", "nothing"], SHARED)
    ran = run_benchmark(systems, Gate(), INPUTS, tmp_path / "run", silent)
    put_on_page(tmp_path / "page.md", [ran])
    return read_benchmarks(tmp_path / "page.json")[0]


def of(found: Benchmark, systems: Iterable[System] = (), colour: str = "red") -> list[Parted]:
    others = {one.name: one for one in systems}
    return parted(
        [found],
        lambda _, options: replace(checked(Gate, options), colour=colour),
        lambda _, row: others.get(row.system) or make_systems([row.system], SHARED)[0],
        lambda _: INPUTS,
    )


def test_a_page_knows_its_questions_and_its_weights(on_page: Benchmark) -> None:
    assert of(on_page) == []
    assert of(on_page, colour="blue") == [Parted("gate", "plans")]
    results = [replace(one, identity={**one.identity, "model": "0"}) for one in on_page.results]
    assert of(replace(on_page, results=(results[0], *on_page.results[1:]))) == [
        Parted("gate", "mplus", ("model",))
    ]


def test_other_rules_of_judging_are_told(
    on_page: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "judge", Judge("exact"))
    assert of(on_page) == [Parted("gate", "judge", ("max_new_tokens", "rule"))]


def test_code_that_judges_otherwise_is_told(
    on_page: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memplus.evaluation.comparison.JUDGING", JUDGING + 1)
    assert of(on_page) == [Parted("gate", "judge", ("judging",))]


def test_plans_that_cannot_be_made_are_told_and_the_rest_is_compared(
    on_page: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_short(self: Gate, inputs: Inputs) -> Sequence[Plan]:
        raise ConfigError("seeds", value=1, reason="the books are too short")

    monkeypatch.setattr(Gate, "plans", too_short)
    monkeypatch.setattr(BM25System, "revision", BM25System.revision + 1)
    plans, bm25 = of(on_page)
    assert (plans.what, bm25.what) == ("plans", "bm25")
    assert "the books are too short" in plans.differs[0]


def test_another_default_is_told(on_page: Benchmark) -> None:
    # A name says only what differs from the defaults.
    kind = type("Renamed", (BM25System,), {"name": "bm25"})
    assert of(on_page, [kind(SHARED, PassageOptions(k=40))]) == [
        Parted("gate", "bm25", ("options.k",))
    ]


def test_code_that_answers_otherwise_is_told_by_its_revision(
    on_page: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BM25System, "revision", BM25System.revision + 1)
    assert of(on_page) == [Parted("gate", "bm25", ("revision",))]


def test_a_new_option_changes_nothing_and_one_that_is_gone_does() -> None:
    before = {"system": "bm25", "options": {"k": 4}}
    assert differing(before, {"system": "bm25", "options": {"k": 4, "stem": False}}) == []
    assert differing(before, {"system": "bm25", "options": {}}) == ["options.k"]
    assert differing(before, {"system": "bm26", "options": {"k": 5}}) == ["options.k", "system"]


def test_a_system_that_cannot_be_opened_here_is_not_compared(on_page: Benchmark) -> None:
    elsewhere = replace(on_page.results[0], system="elsewhere")
    found = replace(on_page, results=(elsewhere,))
    task = checked(Gate, found.run["options"])
    assert parted([found], lambda *_: task, lambda *_: None, lambda _: INPUTS) == []


def test_what_is_gone_is_told_and_the_rest_is_compared_all_the_same(on_page: Benchmark) -> None:
    first, *others = on_page.results
    gone = replace(first, system="gone")
    optional = replace(first, system="bm25:zz=4")
    found = of(replace(on_page, results=(gone, optional, *others)), colour="blue")
    assert [one.what for one in found] == ["plans", "gone", "bm25:zz=4"]
    assert "there is no such option" in found[2].differs[0]

    def no_task(*_: object) -> Gate:
        raise ConfigError("task", value="gate", reason="there are others")

    (told,) = parted([on_page], no_task, lambda *_: None, lambda _: INPUTS)
    assert (told.task, told.what) == ("gate", "task")


def test_a_size_of_a_task_is_named_by_what_it_changes(on_page: Benchmark) -> None:
    other = replace(on_page, run={**on_page.run, "options": {"colour": "blue"}, "plans": "0"})
    task = checked(Gate, on_page.run["options"])
    found = parted([on_page, other], lambda *_: task, lambda *_: None, lambda _: INPUTS)
    assert [one.task for one in found] == ["gate (colour blue)"]


def test_figures_of_which_little_is_known_are_told_to_be_old(on_page: Benchmark) -> None:
    found = of(replace(on_page, run={}, results=()))
    assert [one.what for one in found] == ["plans", "judge"]
