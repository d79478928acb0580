"""Checkpoints of a run: folders that are whole or not there, the last few of them kept.

A checkpoint is written aside, flushed and renamed; what a killed run leaves
half written does not count as one, and the next checkpoint removes it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memplus.errors import ConfigError, NotARunError, TrainingError
from memplus.errors.base import storage_errors

__all__ = ["Checkpoints", "require_begun"]

_STATE = "state.json"
_FORMAT = 1


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of the run.
        keep: how many of the newest stay.
        first: whether this process is the one that makes and names folders.
        wait: returns when every process has called it.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 2,
        *,
        first: bool = True,
        wait: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder / "checkpoints"
        self.keep = keep
        self.first = first
        self.wait = wait or (lambda: None)

    def save(self, step: int, state: dict[str, Any], write: Callable[[Path], None]) -> None:
        """Make the checkpoint of a step; every process calls it.

        Args:
            step: names it.
            state: plain values, the same in all processes.
            write: puts this process's files into a folder.

        Raises:
            StorageError: the disk refused; older checkpoints are untouched.
        """
        aside = self.folder / f".{step:08d}"
        with storage_errors(aside):
            if self.first:
                self._sweep()
                aside.mkdir(parents=True)
            self.wait()
            write(aside)
            self.wait()
            if self.first:
                text = json.dumps({"format": _FORMAT, "step": step, **state})
                (aside / _STATE).write_text(text, encoding="utf-8")
                for path in [*aside.iterdir(), aside]:
                    _flush(path)
                target = self.folder / f"{step:08d}"
                shutil.rmtree(target, ignore_errors=True)
                aside.rename(target)
                _flush(self.folder)
                for old in self.paths()[: -self.keep]:
                    shutil.rmtree(old)
            self.wait()

    def _sweep(self) -> None:
        for path in self.folder.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def paths(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(p for p in self.folder.glob("[0-9]*") if (p / _STATE).is_file())

    def latest(self) -> tuple[Path, dict[str, Any]]:
        """The newest checkpoint and its plain values.

        Raises:
            NotARunError: there is no checkpoint.
            TrainingError: it has another format.
        """
        found = self.paths()
        if not found:
            raise NotARunError(self.folder.parent, reason="it holds no checkpoint to resume from")
        state = json.loads((found[-1] / _STATE).read_text(encoding="utf-8"))
        if state.get("format") != _FORMAT:
            reason = f"{found[-1]} has format {state.get('format')}, this release reads {_FORMAT}"
            raise TrainingError(reason)
        return found[-1], state


def require_begun(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that a run cannot be begun, or cannot be resumed, in.

    Args:
        folder: of the run.
        resume: whether it is to go on from its newest checkpoint.

    Raises:
        ConfigError: it is to be begun, and another run or no folder is there.
        NotARunError, TrainingError: it is to be resumed, and there is nothing that it can.
    """
    checkpoints = Checkpoints(folder)
    if resume:
        checkpoints.latest()
    elif checkpoints.paths():
        reason = "a run is there already; continue it with --resume, or choose another folder"
        raise ConfigError("run.out", value=str(folder), reason=reason)
    elif folder.exists() and not folder.is_dir():
        raise ConfigError("run.out", value=str(folder), reason="it is a file, not a folder")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
