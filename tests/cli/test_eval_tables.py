import io
from pathlib import Path

from rich.console import Console

from memplus.cli.eval_tables import (
    show_perplexity,
    show_results,
    show_statements,
    show_trade_off,
)
from memplus.evaluation.engine.results import Results
from memplus.evaluation.engine.summary import Cell, Threshold, wilson
from memplus.evaluation.probes.perplexity import Perplexities


def cell(system: str, wanted: int | None, right: int, recall: float | None = None) -> Cell:
    found = {} if recall is None else {"value": {"mean": recall}}
    return Cell(
        "note", system, wanted, 0.0, 20, right, wilson(right, 20), {0: right / 20}, 0.25, 0.0,
        (0.5, 0.4, 0.6), 0.125, 2_000_000, found,
    )  # fmt: skip


CELLS = [cell("mplus", 0, 20), cell("mplus", 16_000, 15, 0.875), cell("nothing", None, 1)]
RESULTS = Results(
    {"mplus": "M+", "nothing": "no memory"},
    CELLS,
    CELLS[:1],
    {"tokens_per_second": 1234.0},
    {},
    text_read=2.5,
)


def console() -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=False)


def printed(to: Console) -> list[list[str]]:
    assert isinstance(to.file, io.StringIO)
    return [line.split() for line in to.file.getvalue().splitlines() if line.strip()]


def test_a_row_has_share_interval_recall_seconds_and_bytes() -> None:
    to = console()
    show_results(to, RESULTS, Path("runs/x"))
    lines = printed(to)
    assert ["16,000", "20", "75.0", "(53-89)", "87.5", "0.12", "2"] in lines
    text = "\n".join(" ".join(line) for line in lines)
    assert "no memory: 5.0% of 20 right" in text
    assert "up to 1,000 tokens: 100.0% of 20 right, 25.0% declined" in text
    assert "one stream read them 2.5 times" in text
    assert "Written at 1,234 tokens per second. All results: runs/x" in text


def test_statements_are_right_declined_or_wrong() -> None:
    to = console()
    show_statements(to, Results({"mplus": "M+"}, CELLS[1:2], [], {}, {}), Path("runs/x"))
    assert any(
        [word for word in line if word.isdigit()] == ["20", "15", "5", "0"] for line in printed(to)
    )


def test_perplexities_stand_beside_the_last() -> None:
    to = console()
    ratio = {"mplus": (1.25, 1.0, 1.5), "bare": (1.0, 1.0, 1.0)}
    show_perplexity(
        to,
        Perplexities(1000, 64, 2, {"mplus": "M+", "bare": "bare model"}, {"mplus": 10.0}, ratio),
    )
    assert any("1.2500" in line and "1.0000-1.5000" in line for line in printed(to))


def test_every_fifth_threshold_is_shown() -> None:
    to = console()
    found = [Threshold(number / 10, 0.9, 0.1, 0.8, 0.05) for number in range(10)]
    show_trade_off(to, found, found[4], Path("a.png"))
    text = "\n".join(" ".join(line) for line in printed(to))
    assert "0.50" in text
    assert "0.40" not in text
    assert "min_confidence 0.4 declines 80.0% of what was never told and 5.0% of what was." in text
    assert "a.png" in text
