"""docs/cli.md, made from the commands' own help: ``python -m memplus.cli.reference``."""

from __future__ import annotations

import sys

from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from memplus.cli.main import app
from memplus.evaluation.tasks.registry import TASKS

__all__ = ["reference"]

_WIDTH = "100"
_FIRST, *_OTHERS = TASKS
_ALIKE = [[name] for name in _OTHERS]
"""Benchmarks have the same flags: one section stands for all."""


def reference() -> str:
    """The whole page: one section per command, each with the text that ``--help`` prints."""
    names: list[list[str]] = [[]]
    _collect(get_command(app), [], names)
    head = (
        "# The command line\n\n"
        "Generated from the commands' help by `make docs`; a test checks that it is current.\n\n"
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 model and memory do not match, 4 corrupt, "
        "130 interrupted, 141 output closed by its reader.\n"
        "With `--json`, stdout holds exactly one JSON document, even for an error; only an unknown "
        "flag or command is reported as text on stderr. Flags override the environment.\n"
        "Without `--memory`, `--store` and `--id`, commands use the memory `default` in your own "
        "store, in your user data folder; `MEMPLUS_STORE` names another store.\n"
    )
    return head + "".join(
        _section(name) for name in names if not (name[:1] == ["bench"] and name[1:] in _ALIKE)
    )


def _collect(command: object, path: list[str], names: list[list[str]]) -> None:
    if not isinstance(command, TyperGroup):
        return
    for name, child in command.commands.items():
        names.append([*path, name])
        _collect(child, [*path, name], names)


def _section(path: list[str]) -> str:
    environment = {"COLUMNS": _WIDTH, "TERMINAL_WIDTH": _WIDTH, "NO_COLOR": "1"}
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="memplus", env=environment)
    lines = [line.rstrip() for line in shown.stdout.strip().splitlines()]
    if path == ["bench"]:
        lines = [line for line in lines if line.split()[:1] not in _ALIKE]
    section = f"\n## {' '.join(['memplus', *path])}\n\n```\n" + "\n".join(lines) + "\n```\n"
    return section.replace(_FIRST, "TASK") if path[:1] == ["bench"] else section


if __name__ == "__main__":
    sys.stdout.write(reference())
