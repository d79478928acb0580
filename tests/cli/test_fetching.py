"""A model over a base model fetches it the first time, whichever command loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.mplus.bundle_folders import known_base, over, ship, write_base

from memplus.mplus.base_cache import cached_base, remove_base
from memplus.mplus.bases import Base


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    return known_base(tmp_path / "known", monkeypatch)


@pytest.mark.long
def test_the_bundle_that_comes_with_a_base_model_answers_by_its_name(
    run: Run, base: Base, tmp_path: Path
) -> None:
    ship(tmp_path / "known")
    remove_base("tiny")
    ran = run("tell", "The ferry leaves at nine.", "--model", "tiny", "--json")
    assert ran.code == 0
    assert ran.err.count("Fetching tiny (nobody/tiny): 0 MB, licence Apache-2.0") == 1
    assert cached_base(base) is not None
    again = run("ask", "When does the ferry leave?", "--model", "tiny", "--json")
    assert again.code == 0
    assert "Fetching" not in again.err


# Random weights this large, chained three layers deep, round too much in 16 bits for doctor.
FLOATS = ("--dtype", "float32")


@pytest.mark.long
@pytest.mark.parametrize("command", ["doctor", "inspect"])
def test_a_bundles_directory_serves_as_a_model(
    run: Run, base: Base, tmp_path: Path, command: str
) -> None:
    folder = ship(tmp_path / "known")
    assert run("tell", "The ferry leaves at nine.", "--model", folder, *FLOATS).code == 0
    remove_base("tiny")
    ran = run(command, "--model", folder, *FLOATS, "--json")
    assert ran.code == 0
    assert ran.err.count("Fetching tiny") == 1
    assert ran.data.get("healthy", ran.data.get("tokens"))


@pytest.mark.long
def test_doctor_checks_the_bundle_where_one_comes_with_the_base_model(
    run: Run, base: Base, tmp_path: Path
) -> None:
    untrained = run("doctor", "tiny", *FLOATS, "--json").data
    ship(tmp_path / "known")
    trained = run("doctor", "tiny", *FLOATS, "--json").data
    assert untrained["healthy"]
    assert trained["healthy"]
    found = [
        {one["name"]: one["detail"] for one in data["checks"]} for data in (untrained, trained)
    ]
    assert found[0]["weights"] != found[1]["weights"]  # the bundle has adapters


def test_without_a_bundle_nothing_is_fetched_before_it_is_refused(run: Run, base: Base) -> None:
    ran = run("ask", "Where?", "--model", "tiny")
    assert ran.code == 2
    assert "no memory has been trained for it yet" in ran.err
    assert cached_base(base) is None


def test_offline_the_command_says_which_file_to_bring(
    run: Run, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(tmp_path / "known")
    remove_base("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    ran = run("ask", "Where?", "--model", "tiny")
    assert ran.code == 1
    assert "memplus pull tiny --from FILE" in ran.err


def test_a_base_that_is_another_ends_a_command_with_its_own_code(run: Run, tmp_path: Path) -> None:
    model = over(write_base(tmp_path / "base"))
    model.save_pretrained(tmp_path / "bundle", base="reference")
    write_base(tmp_path / "base", seed=3)
    ran = run("doctor", tmp_path / "bundle", "--json")
    assert ran.code == 4
    assert ran.data["error"]["type"] == "BundleBaseError"
