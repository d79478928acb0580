"""The entry point: one typer application, and errors turned into messages and exit codes.

Exit codes: 0 ok, 1 failure, 2 usage, 3 model and memory do not match, 4 corrupt, 130 interrupted,
141 when the reader of the output went away. Commands import the model library when they run, not
before: ``memplus --help`` is immediate.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import memplus
from memplus.cli.ask import ask
from memplus.cli.bench import bench
from memplus.cli.chat import chat
from memplus.cli.demo import demo
from memplus.cli.doctor import doctor
from memplus.cli.eval import evaluation
from memplus.cli.inspect import inspect
from memplus.cli.keys import keys
from memplus.cli.mcp import mcp
from memplus.cli.memories import memories
from memplus.cli.models import models
from memplus.cli.options import Chosen
from memplus.cli.output import (
    INTERRUPTED,
    STDOUT,
    Output,
    fill_closed_streams,
    give_up,
    print_any_character,
    print_piece,
    read_any_bytes,
    to_stdout,
)
from memplus.cli.plot import plot
from memplus.cli.pull import pull
from memplus.cli.serve import serve
from memplus.cli.tell import tell
from memplus.cli.train import train
from memplus.cli.waiting import wait_asleep
from memplus.cli.write import write
from memplus.errors import MemplusError, StreamError, UsageError
from memplus.errors.base import storage_error

__all__ = ["app", "main"]

_READER_GONE = 141


class _ReaderGoneError(Exception):
    """Nobody reads the output on: a broken pipe, for which the framework would end with 1."""


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


class _Commands(TyperGroup):
    """All commands; what a broken pipe means is decided in ``main``."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        with _noticing():  # help and version are shown here
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        with _noticing():
            return super().invoke(ctx)


app = typer.Typer(
    name="memplus",
    cls=_Commands,
    help="A language model with a long memory in its hidden states.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: object) -> None:
    if wanted:
        print_piece(f"memplus {memplus.__version__}\n")
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


for _command in (tell, write, ask, chat, inspect, pull, serve, mcp, doctor, demo, plot):
    app.command()(_command)
app.add_typer(train)
app.add_typer(evaluation)
app.add_typer(bench)
app.add_typer(memories)
app.add_typer(keys)
app.add_typer(models)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit code."""
    wait_asleep(os.environ)
    fill_closed_streams()
    print_any_character()
    read_any_bytes()
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = Chosen()
    try:
        code = _run(given, chosen)
    except (BrokenPipeError, _ReaderGoneError):
        code = _READER_GONE
    sys.exit(_flushed(code))


def _flushed(code: int) -> int:
    """The exit code, once everything is out or given up."""
    try:
        with to_stdout():
            pass
    except BrokenPipeError:
        give_up(sys.stdout)
        code = _READER_GONE
    except StreamError as refused:
        if not code:
            Output(as_json=False).error(refused)
            code = refused.exit_code
    try:
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)
    return code


def _run(given: Sequence[str], chosen: Chosen) -> int:
    try:
        return int(app(given, prog_name="memplus", standalone_mode=False, obj=chosen) or 0)
    except MemplusError as error:
        return _failed(error, chosen)
    except BrokenPipeError:
        raise
    except OSError as error:
        # A refusal that no room has named already; one without a file is that of the output.
        if error.filename:
            return _failed(storage_error(error.filename, error), chosen)
        give_up(sys.stdout)
        return _failed(StreamError(STDOUT, error), chosen)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _misused(error, chosen)


def _failed(error: MemplusError, chosen: Chosen) -> int:
    unheard = isinstance(error, StreamError) and error.fields["path"] == STDOUT
    Output(as_json=chosen.as_json and not unheard).error(error)
    return error.exit_code


def _misused(error: Any, chosen: Chosen) -> int:
    """A fault in the command line itself, which the framework found.

    A flag that does not exist ends the reading of all others, so that is told as text.
    """
    if chosen.as_json:
        return _failed(UsageError(error.format_message()), chosen)
    error.show()
    return int(error.exit_code)


if __name__ == "__main__":
    main()
