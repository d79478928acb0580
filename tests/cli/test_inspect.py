"""``memplus inspect``: sizes, what each token costs, and sources that are still text."""

from pathlib import Path

import pytest
from tests.cli.conftest import QUESTION, Run

from memplus import MPlus


def test_it_says_what_the_memory_holds_and_costs(run: Run, told: Path) -> None:
    ran = run("inspect", "--memory", told)
    assert ran.out.startswith("0 tokens in 0 writes and 11 not yet compressed; ")
    assert "and 1.6 KB for each further token" in ran.out
    assert "notes.txt" in ran.out


def test_it_says_the_same_in_json(run: Run, told: Path) -> None:
    data = run("inspect", "--memory", told, "--question", QUESTION, "--json").data
    assert data["sources"] == [
        {"source": "notes.txt", "writes": 0, "tokens": 0, "short_term": 0, "long_term": 0}
        | {"waiting": 11}
    ]
    assert 1500 < data["bytes_per_token"] < 1700
    assert data["retrieved"]


def test_it_shows_no_empty_tables_where_nothing_is_retrieved(
    run: Run, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MPlus, "retrieve", lambda *_: [])
    ran = run("inspect", "--memory", told, "--question", QUESTION)
    assert ran.out.endswith("Nothing is retrieved from the long-term memory.\n")
