"""The entry point: one typer application, and errors turned into messages and exit codes.

Exit codes: 0 ok, 1 failure, 2 usage, 3 model and memory do not match, 4 corrupt, 130 interrupted.
Commands import the model library when they run, not before: ``memplus --help`` is immediate.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import memplus
from memplus.cli.ask import ask
from memplus.cli.chat import chat
from memplus.cli.demo import demo
from memplus.cli.doctor import doctor
from memplus.cli.eval import evaluation
from memplus.cli.inspect import inspect
from memplus.cli.memories import memories
from memplus.cli.output import Output
from memplus.cli.plot import plot
from memplus.cli.train import train
from memplus.cli.write import write
from memplus.errors import MemplusError
from memplus.errors.base import storage_error

__all__ = ["app", "main"]

app = typer.Typer(
    name="memplus",
    help="A language model with a long memory in its hidden states.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: object) -> None:
    if wanted:
        sys.stdout.write(f"memplus {memplus.__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """A language model with a long memory in its hidden states."""


for _command in (write, ask, chat, inspect, doctor, demo, plot):
    app.command()(_command)
app.add_typer(train)
app.add_typer(evaluation)
app.add_typer(memories)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(as_json="--json" in given or bool(os.environ.get("MEMPLUS_JSON")))
    try:
        app(given, prog_name="memplus")
    except MemplusError as error:
        output.error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        # A disk's or a pipe's refusal that no room has named already.
        named = storage_error(error.filename or "output", error)
        output.error(named)
        sys.exit(named.exit_code)


if __name__ == "__main__":
    main()
