"""What a benchmark found so far, in a file, so that one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memplus.evaluation.engine.runfile import RunFile

__all__ = ["Kept"]


class Kept:
    """Findings, each under all that it depends on.

    Args:
        path: the file, which may hold some already; None: nothing is kept.
        benchmark: whose file it is.

    Raises:
        RunMismatchError: the file is another benchmark's.
        DamagedRunError, StorageError: it cannot be read, or the disk refused.
    """

    def __init__(self, path: Path | None, benchmark: str) -> None:
        self._file = None if path is None else RunFile(path, {"benchmark": benchmark})
        lines = [] if self._file is None else self._file.lines
        self._known = {str(line["of"]): line["found"] for line in lines}

    def find(self, depends_on: Any, compute: Callable[[], Any]) -> Any:
        """What was found, or is computed now and kept.

        Args:
            depends_on: JSON values, the first of them a name for people.
            compute: gives JSON values.
        """
        of = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        if of not in self._known:
            found = json.loads(json.dumps(compute()))
            if self._file is not None:
                self._file.append({"of": of, "name": depends_on[0], "found": found})
            self._known[of] = found
        return self._known[of]
