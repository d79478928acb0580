"""``memplus doctor``: the model may be named in two ways."""

from pathlib import Path

from tests.cli.conftest import Run


def test_the_model_may_be_an_argument_or_a_flag(run: Run, tiny: Path) -> None:
    first = run("doctor", tiny, "--json").data
    second = run("doctor", "--model", tiny, "--json").data
    assert first["model"] == second["model"] == str(tiny)
    assert first["healthy"]
    assert second["healthy"]


def test_people_see_a_line_per_check(run: Run, tiny: Path) -> None:
    ran = run("doctor", tiny)
    assert ran.code == 0
    assert len(ran.out.splitlines()) > 3
    assert all(line.startswith("ok  ") for line in ran.out.splitlines())
