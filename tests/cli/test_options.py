"""Flags on their own: names must be text."""

from pathlib import Path

from tests.cli.conftest import Run


def test_a_name_that_is_no_text_is_refused_by_the_flag(run: Run, tmp_path: Path) -> None:
    for arguments in (
        ("ask", "Why?", "--store", tmp_path, "--id", "caf\udce9"),
        ("memories", "show", "caf\udce9", "--store", tmp_path),
        ("memories", "create", "caf\udce9", "--store", tmp_path),
    ):
        ran = run(*arguments, "--json")
        assert (ran.code, ran.data["error"]["type"]) == (2, "UsageError")
        assert "not UTF-8 text" in ran.data["error"]["message"]
