"""What a command shows: data on stdout, everything else on stderr.

With ``--json`` stdout holds exactly one JSON document, also for an error, so that a program can
read it whole; people get text. Progress goes to stderr either way, and only for work that lasts.
"""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memplus.errors import MemplusError, NotFiniteResultError

__all__ = [
    "INTERRUPTED",
    "Output",
    "Report",
    "print_any_character",
    "print_piece",
    "read_any_bytes",
]

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped."""

# (label, done, total): work reports itself through one of these.
Report = Callable[[str, int, int], None]

_PATIENCE_SECONDS = 2.0


class Output:
    """Where one command writes: text or one JSON document to stdout, the rest to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._answered = False  # the one document is out
        self.text = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    def result(self, data: Mapping[str, Any], *, show: Callable[[Console], None]) -> None:
        """Hands over a command's result: ``data`` as JSON, or ``show`` for people.

        Raises:
            NotFiniteResultError: a number of the result is infinite or none, which JSON cannot say.
        """
        if self.as_json:
            _write_json(data)
            self._answered = True
        else:
            show(self.text)

    def note(self, line: str) -> None:
        """One line for people, on stderr."""
        self.notes.print(line, markup=False)

    def error(self, error: MemplusError) -> None:
        """Message and hint on stderr, or as JSON on stdout where nothing else is the document."""
        if self.as_json and not self._answered:
            body = {
                "type": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "exit_code": error.exit_code,
            }
            _write_json({"error": body})
            return
        self.notes.print(f"error: {error.message}", markup=False, style="red")
        if error.hint:
            self.notes.print(error.hint, markup=False)

    @contextmanager
    def progress(self) -> Iterator[Report]:
        """A bar per label on stderr, which appears once the work has lasted two seconds."""
        bars = _bars(self.notes)
        tasks: dict[str, Any] = {}
        began = time.monotonic()
        shown = False

        def report(label: str, done: int, total: int) -> None:
            nonlocal shown
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)
            if not shown and time.monotonic() - began > _PATIENCE_SECONDS:
                bars.start()
                shown = True

        try:
            yield report
        finally:
            if shown:
                bars.stop()


def print_any_character() -> None:
    """From now on a character that a terminal's encoding lacks is shown as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def read_any_bytes() -> None:
    """From now on bytes of the input that are no text come as half characters, which are refused by
    name where a text is taken.

    A strict input fails for a whole block, with the lines before the one that is no text.
    """
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "strict":
        sys.stdin.reconfigure(errors="surrogateescape")


def print_piece(piece: str) -> None:
    """A piece of an answer on stdout, as it comes."""
    sys.stdout.write(piece)
    sys.stdout.flush()


def _write_json(data: Mapping[str, Any]) -> None:
    """One document on stdout; characters as they are where the encoding has them all."""
    name = _not_finite(data, "")
    if name:
        raise NotFiniteResultError(name)
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    try:
        text = json.dumps(data, ensure_ascii=not utf8, indent=2, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # half a character, of a file name that is no UTF-8
        text = json.dumps(data, ensure_ascii=True, indent=2, allow_nan=False)
    sys.stdout.write(text + "\n")


def _not_finite(value: Any, name: str) -> str:
    """Where in a result a number is infinite or none: its path; empty where all are finite."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else name
    if isinstance(value, Mapping):
        parts = [(f"{name}.{key}".lstrip("."), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{name}[{index}]", part) for index, part in enumerate(value)]
    else:
        return ""
    return next((found for key, part in parts if (found := _not_finite(part, key))), "")


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)
