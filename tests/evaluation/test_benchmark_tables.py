"""Tables of benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memplus.evaluation.benchmark import Benchmark, SystemResult
from memplus.evaluation.benchmark_tables import (
    cost_rows,
    figure_tables,
    markdown,
    overview_rows,
    put_table,
    shown,
)
from memplus.evaluation.engine.figures import Figure
from memplus.evaluation.engine.results import write_summary


def figure(value: float, wanted: int | None = 0, measure: str = "right") -> Figure:
    held = 1_000_000 + 2000 * (wanted or 0)
    return Figure("note", wanted, measure, value, value - 0.1, value + 0.1, 10, 0.0, 0.5, held)


FOUND = Benchmark(
    "retention",
    "kept",
    "tokens since",
    "nano",
    {"options": {}, "plans": "0"},
    (
        SystemResult(
            "mplus",
            "M+",
            {},
            (figure(0.5), figure(0.25, 1000), figure(12.5, measure="perplexity")),
            figure(0.4, None),
            tokens_written=2000,
            seconds_writing=1.0,
            state_bytes=4_000_000,
            bytes_per_token=2000,
            devices=("CPU", "NVIDIA H200"),
        ),
        SystemResult("nothing", "no memory", {}, (figure(0.125, None),), errors=2, first_error="x"),
        SystemResult("scm", "SCM", {}, unable="it gives no likelihoods"),
    ),
)


def test_systems_stand_below_each_other_and_lengths_side_by_side() -> None:
    (title, rows), (other, ratios) = figure_tables(FOUND)
    assert title == "note: right"
    assert rows == [
        ["system", "0, n 10", "1,000, n 10"],
        ["M+", "50 (40-60)", "25 (15-35)"],
        ["no memory", "12 (2-22)", "12 (2-22)"],
    ]
    assert other == "note: perplexity"
    assert ratios[1] == ["M+", "12.50 (12.40-12.60)"]
    assert shown(None) == ""


def test_costs_failures_and_what_a_system_cannot_do_are_said() -> None:
    head, mplus, nothing, scm = cost_rows(FOUND)
    assert head[:4] == ["system", "MB at 0", "MB at 1,000", "most MB"]
    assert nothing[1:3] == ["1.00", "1.00"]
    assert mplus == ["M+", "1.00", "3.00", "4.00", "2,000", "0.50", "0.50", "CPU, NVIDIA H200", "0"]
    assert nothing[-1] == "2"
    assert nothing[-2] == ""
    assert scm[1] == "it gives no likelihoods"
    assert len(scm) == len(mplus)
    text = markdown([FOUND])
    assert "no memory: 2 failures, the first one: x" in text
    assert "| M+ | 50 (40-60) | 25 (15-35) |" in text


def test_questions_that_stand_under_two_kinds_cost_once() -> None:
    slow = replace(figure(0.5), kind="other", seconds=1.5)
    both = replace(figure(0.5), kind="all", seconds=1.0, asked=20, repeats=True)
    own = replace(FOUND.results[0], figures=(figure(0.5), slow, both))
    alone = replace(FOUND.results[0], figures=(slow,))
    _, costs, one = cost_rows(replace(FOUND, results=(own, alone)))
    assert (costs[-3], one[-3]) == ("1.00", "1.50")
    far = replace(both, wanted=500, seconds=9.0)
    assert cost_rows(replace(FOUND, results=(replace(own, figures=(*own.figures, far)),)))[1] == (
        costs
    )


def test_one_length_says_nothing_of_growth() -> None:
    single = replace(FOUND.results[0], figures=(figure(0.5),))
    assert cost_rows(replace(FOUND, results=(single,)))[0][:2] == ["system", "most MB"]


def test_an_overview_has_a_row_for_each_system_and_a_column_for_each_benchmark() -> None:
    other = replace(FOUND, task="sort", results=FOUND.results[:1])
    assert overview_rows([FOUND, other]) == [
        ["system", "retention: right", "sort: right"],
        ["M+", "40 (30-50)", "40 (30-50)"],
        ["no memory", "", ""],
        ["SCM", "cannot be asked", ""],
    ]


def test_the_tables_of_a_folder_are_of_all_that_is_summed_up_in_it(tmp_path: Path) -> None:
    for results in (FOUND.results[:1], FOUND.results):
        written = replace(FOUND, results=results)
        write_summary(tmp_path, written.to_dict())
        put_table(tmp_path)
        assert (tmp_path / "table.md").read_text() == markdown([written])
