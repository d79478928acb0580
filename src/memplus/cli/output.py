"""What a command shows: data on stdout, everything else on stderr.

With ``--json`` stdout holds exactly one JSON document, also for an error, so that a program can
read it whole; people get text. Progress goes to stderr either way, and only for work that lasts.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from memplus.errors import MemplusError, NotFiniteResultError, StreamError

__all__ = [
    "INTERRUPTED",
    "STDOUT",
    "Output",
    "Report",
    "fill_closed_streams",
    "give_up",
    "print_any_character",
    "print_piece",
    "read_any_bytes",
    "to_stdout",
]

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped."""
STDOUT = "Standard output"
"""Its name in errors."""

# (label, done, total): work reports itself through one of these.
Report = Callable[[str, int, int], None]

_PATIENCE_SECONDS = 2.0
_SHOWN = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\t\n"
}
"""What stands for characters that would command a terminal, or turn the direction of a line."""


class _Console(Console):
    """Shows what others wrote, and does not obey it.

    It leaves it to the entry point what becomes of a command whose reader went away.
    """

    def render_str(self, text: str, **given: Any) -> Text:
        # Before a cell is measured, and before the library drops some of these characters.
        return super().render_str(text.translate(_SHOWN), **given)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        # What was made a Text elsewhere. Styles become commands to the terminal behind this, and
        # the console's own are marked.
        for one in super().render(renderable, options):
            yield one if one.control else Segment(one.text.translate(_SHOWN), one.style)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """Where one command writes: text or one JSON document to stdout, the rest to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._answered = False  # the one document is out
        self.text = _Console(highlight=False, soft_wrap=True)
        self.notes = _Console(stderr=True, highlight=False, soft_wrap=True)

    def result(self, data: Mapping[str, Any], *, show: Callable[[Console], None]) -> None:
        """Hands over a command's result: ``data`` as JSON, or ``show`` for people.

        Raises:
            NotFiniteResultError: a number of the result is infinite or none, which JSON cannot say.
            StreamError: stdout does not take it.
        """
        with to_stdout():
            if self.as_json:
                _write_json(data)
                self._answered = True
            else:
                show(self.text)

    def line(self, text: str) -> None:
        """One line of a result that comes in several, for people.

        Raises:
            StreamError: stdout does not take it.
        """
        with to_stdout():
            self.text.print(text, markup=False)

    def note(self, line: str) -> None:
        """One line for people, on stderr; where that is full, the command goes on."""
        with suppress(OSError):
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
            with suppress(StreamError), to_stdout():
                _write_json({"error": body})
                return
        with suppress(OSError):
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


def fill_closed_streams() -> None:
    """A stream that was closed before the start refuses what is asked of it, as the system says it.

    Python has None in its place, and the next file that is opened would get its number: what a
    library says to people would go into that file.
    """
    refusing = {"stdin": os.O_WRONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
    for name, way in refusing.items():
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, way)  # the lowest free number, which is its own
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8"))


@contextmanager
def to_stdout() -> Iterator[None]:
    """A block that writes to stdout and does nothing else; what it wrote is out when it ends.

    Raises:
        BrokenPipeError: nobody reads on.
        StreamError: stdout is closed, or what it leads to is full.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up(sys.stdout)
        raise StreamError(STDOUT, error) from error


def give_up(stream: TextIO) -> None:
    """What is left in a stream's buffer, and what still comes, goes nowhere.

    It would be tried again at the exit, where Python tells its failure as a traceback.
    """
    with suppress(OSError):  # a stand-in for a stream has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
    """A piece of an answer on stdout, as it comes.

    Raises:
        StreamError: stdout does not take it.
    """
    with to_stdout():
        sys.stdout.write(piece.translate(_SHOWN))


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
