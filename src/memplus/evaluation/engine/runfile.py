"""The file of a run: a first line that says which run it is, then one line per answer.

Lines are appended as answers come, always in the same order, so a file that ends early is the
beginning of the whole one, and going on means to skip what is there. Where an answer failed, the
one of a later try is appended, too, and read in its place. A last line that was cut off
in the middle is taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from memplus.errors import DamagedRunError, MemoryBusyError, RunMismatchError, UsageError
from memplus.errors.base import storage_error, storage_errors
from memplus.evaluation.engine.recorder import FAILED, HEAD
from memplus.files import locked

__all__ = ["RunFile", "alone_in", "differing_parts"]

FORMAT = 1


class RunFile:
    """Answers of one run, on disk.

    Args:
        path: the file; made where it is missing, with its folder.
        identity: whatever a result depends on, as plain JSON values.
        beside: what every line gets that is appended, such as where it was computed: a run may be
            gone on with elsewhere, and its lines say so.

    Attributes:
        lines: everything after the first line, in the order in which it was first tried.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, Any], beside: Mapping[str, Any] | None = None
    ) -> None:
        """Open the file, or begin it.

        Raises:
            RunMismatchError: it belongs to another run.
            DamagedRunError: a line in it is not what it should be.
            StorageError: the disk refused.
        """
        self.path = path
        self._beside = dict(beside or {})
        self.lines: list[dict[str, Any]] = []
        self._numbers: list[int] = []
        """Of each of them, the line of the file."""
        self.identity: dict[str, Any] = {}
        """As it stands in the file, which may name its parts in another order than was given."""
        expected: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **identity}))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            known = _whole_lines(path)
            self._last = max(1, len(known))
            if known:
                self._read(known, expected)
            else:
                path.write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")
                self.identity = expected
        except OSError as error:
            raise storage_error(path, error) from error

    def _read(self, known: list[str], identity: dict[str, Any]) -> None:
        parsed = []
        for number, line in enumerate(known, start=1):
            try:
                found = json.loads(line)
            except ValueError as error:
                raise DamagedRunError(self.path, line=number) from error
            if not isinstance(found, dict):
                raise DamagedRunError(self.path, line=number)
            parsed.append(found)
        differs = list(differing_parts(parsed[0], identity))
        if differs:
            raise RunMismatchError(self.path, differs=", ".join(differs))
        self.identity = parsed[0]
        failed: dict[object, int] = {}
        for place, one in enumerate(parsed[1:], start=2):
            head = tuple(json.dumps(one.get(name)) for name in HEAD)
            index = failed.pop(head, len(self.lines))
            self._put(index, one, place)
            if FAILED in one:
                failed[head] = index

    def _put(self, index: int, line: dict[str, Any], number: int) -> None:
        self.lines[index : index + 1] = [line]
        self._numbers[index : index + 1] = [number]

    def number(self, index: int) -> int:
        """The line of the file, from 1, that one of ``lines`` stands in."""
        return self._numbers[index]

    def replace(self, index: int, line: Mapping[str, Any]) -> None:
        """Put a line in the place of one that failed; it is in the file when this returns.

        Args:
            index: of ``lines``.
            line: of the same question.

        Raises:
            StorageError: the disk refused.
        """
        self._write(index, line)

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line; it is in the file when this returns.

        Raises:
            StorageError: the disk refused.
        """
        self._write(len(self.lines), line)

    def _write(self, index: int, line: Mapping[str, Any]) -> None:
        text = json.dumps({**line, **self._beside}, ensure_ascii=False) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._last += 1
        self._put(index, json.loads(text), self._last)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only process and thread that runs into a folder; it is made where it is missing.

    Two of them would each add every answer, in an order that neither could go on from.

    Raises:
        UsageError: another one does.
        StorageError: the disk refused.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / "run"))
        except MemoryBusyError as error:
            raise UsageError(
                f"Another command is running into {folder}. Wait for it, or give another folder."
            ) from error
        yield


def differing_parts(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What two identities differ in, as far down as both have parts: ``identity.options.k``."""
    for name in sorted(found.keys() | wanted.keys()):
        one, other = found.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from (f"{name}.{part}" for part in differing_parts(one, other))
        elif one != other:
            yield name


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file; what follows the last line end is cut off, on disk too."""
    if not path.exists():
        return []
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as file:
            file.truncate(end)
    return data[:end].decode("utf-8", errors="replace").split("\n")[:-1]
