"""The plan and the results as files of JSON lines, for every script in this folder.

The standard library and nothing else, since these scripts run in environments of their own.

A plan's first line says what it is; then every line is a piece of text to write, or questions to
ask once all that comes before them has been written::

    {"format": 1, "what": "plan", "model": ..., "seed": ..., "tokens": ..., "weights": ...}
    {"write": " A sentence.", "tokens": 4}
    {"ask": [{"key": ..., "kind": ..., "question": ..., "answers": [...], "told": ..., ...}]}

A system's results begin likewise; a line per question in any order, the writes, and what was left
after ``kill -9`` in the middle of one::

    {"format": 1, "what": "results", "system": ..., "by": ..., "plan": SHA-256, ...}
    {"key": ..., "said": ... or "retrieved": [...] or "error": ..., "seconds": ...}
    {"key": "end", "writes": ..., "tokens": ..., "write_seconds": ..., "bytes": ...}
    {"key": "killed", "acknowledged": ..., "left": ..., "torn": ..., "note": ...}
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "END",
    "FORMAT",
    "KILLED",
    "Line",
    "Plan",
    "Results",
    "Writer",
    "kill_during_writes",
    "read_plan",
    "read_results",
]

FORMAT = 1
END, KILLED = "end", "killed"

Line = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What every system is told and asked."""

    header: Line
    lines: tuple[Line, ...]
    sha256: str
    """Of all lines but the first."""

    @property
    def pieces(self) -> list[str]:
        """All text, in the pieces in which it is written; white space alone is no piece."""
        return [line["write"] for line in self.lines if line.get("write", "").strip()]

    @property
    def questions(self) -> list[Line]:
        """All questions in their order."""
        return [one for line in self.lines for one in line.get("ask", ())]

    @property
    def steps(self) -> Iterator[tuple[list[str], list[Line]]]:
        """Pieces to write, and what is asked after them."""
        pieces: list[str] = []
        for line in self.lines:
            if "write" in line:
                pieces.append(line["write"])
            else:
                yield pieces, line["ask"]
                pieces = []


@dataclass(frozen=True)
class Results:
    """What one system made of a plan."""

    header: Line
    answers: dict[str, Line]
    """By the question's key."""
    end: Line | None
    """None where it did not come so far."""
    killed: Line | None
    """None where it was not tried."""


def read_plan(path: Path) -> Plan:
    """A plan's file; the script ends with a message where it is none."""
    header, lines, sha256 = _read(path, "plan")
    if not all(("write" in line) != ("ask" in line) for line in lines):
        sys.exit(f"{path}: a line of a plan has either `write` or `ask`")
    return Plan(header, tuple(lines), sha256)


def read_results(path: Path, plan: Plan) -> Results:
    """A system's file; the script ends with a message where it is none, or of another plan."""
    header, lines, _ = _read(path, "results")
    if header["plan"] != plan.sha256:
        sys.exit(f"{path} holds the results of another plan")
    keyed = {line["key"]: line for line in lines}
    end, killed = keyed.pop(END, None), keyed.pop(KILLED, None)
    unknown = keyed.keys() - {one["key"] for one in plan.questions}
    if unknown:
        sys.exit(f"{path}: the plan has no question {min(unknown)}")
    return Results(header, keyed, end, killed)


def _read(path: Path, what: str) -> tuple[Line, list[Line], str]:
    try:
        raw = path.read_text(encoding="utf-8").splitlines(keepends=True)
        header, *lines = [dict(json.loads(line)) for line in raw]
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"{path} cannot be read as JSON lines: {error}")
    if (header.get("what"), header.get("format")) != (what, FORMAT):
        sys.exit(f"{path} is no file of {what} of format {FORMAT}")
    return header, lines, hashlib.sha256("".join(raw[1:]).encode()).hexdigest()


class Writer:
    """Writes the results of one system; what is written is in the file at once.

    Args:
        path: is made anew.
        plan: what it was told and asked.
        system: its name, for the table.
        by: the software and its version.
        settings: all else that its answers depend on.
    """

    def __init__(
        self, path: Path, plan: Plan, *, system: str, by: str, settings: Mapping[str, Any]
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        self._path = path
        first = {"format": FORMAT, "what": "results", "system": system, "by": by}
        self.add(first | {"plan": plan.sha256, "settings": dict(settings)})

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def asked(self, key: str, seconds: float, **found: Any) -> None:
        """Add what came of a question: ``said``, ``retrieved`` or ``error``."""
        self.add({"key": key, **found, "seconds": round(seconds, 4)})

    def end(self, *, writes: int, tokens: int, write_seconds: float, nbytes: int) -> None:
        """Add what the writes took, and what their state takes."""
        seconds = round(write_seconds, 4)
        self.add(
            {"key": END, "writes": writes, "tokens": tokens, "write_seconds": seconds}
            | {"bytes": nbytes}
        )

    def killed(self, acknowledged: int, left: int, torn: int, note: str = "") -> None:
        """Add what was left after ``kill -9``: writes said to be done, found, and found in part."""
        self.add(
            {"key": KILLED, "acknowledged": acknowledged, "left": left, "torn": torn, "note": note}
        )


def kill_during_writes(command: Sequence[str], after: int, seconds: float) -> int:
    """Start a process that says a line for every write, and end it by ``kill -9`` amid the next.

    Args:
        command: of the process.
        after: writes that it is left to finish.
        seconds: to wait after the last of these, less than a write takes.

    Returns:
        How many it said were done.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = 0
        for _ in process.stdout:
            done += 1
            if done == after:
                time.sleep(seconds)
                process.kill()
    if done < after:
        sys.exit(f"the process that writes ended after {done} of {after} writes")
    return done
