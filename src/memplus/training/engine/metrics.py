"""The figures of a run: a line of JSON at a time, and TensorBoard where it is wanted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

from memplus.errors import LibraryMissingError, NotARunError
from memplus.errors.base import storage_error, storage_errors
from memplus.files import write_aside

__all__ = ["METRICS", "Metrics", "read_metrics"]

METRICS = "metrics.jsonl"


class Metrics:
    """Gathers figures of steps and writes their means.

    Args:
        folder: of the run.
        step: steps done before; lines of later ones, which a killed run had written, go.
        tensorboard: write them for TensorBoard too.

    Raises:
        LibraryMissingError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int = 0, *, tensorboard: bool = False) -> None:
        self._path = folder / METRICS
        self._gathered: dict[str, list[float]] = {}
        if self._path.is_file():
            lines = [line for line in read_metrics(folder) if line["step"] <= step]
            write_aside(self._path, "".join(json.dumps(one) + "\n" for one in lines).encode())
        self._board = _board(folder, step) if tensorboard else None

    def add(self, figures: dict[str, float]) -> None:
        """The figures of one pass; those that are not finite are left out."""
        for name, value in figures.items():
            if math.isfinite(value):
                self._gathered.setdefault(name, []).append(value)

    def write(self, step: int, label: str, **values: float) -> None:
        """A line with the means since the last one, and further values.

        Raises:
            StorageError: the disk refused.
        """
        means = {name: round(fmean(parts), 6) for name, parts in self._gathered.items()}
        self._gathered.clear()
        line = {"step": step, "task": label, **means, **values}
        with storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in {**means, **values}.items():
                self._board.add_scalar(name.replace(".", "/"), value, step)

    def close(self) -> None:
        """Flush what is still on its way."""
        if self._board is not None:
            self._board.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run; a last one that was cut off is left out.

    Raises:
        NotARunError: the folder has no figures, or they are not those of a training run.
        StorageError: they cannot be read.
    """
    path = folder / METRICS
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "there is no such folder"
        raise NotARunError(folder, reason=reason)
    if not path.is_file():
        raise NotARunError(folder, reason=f"it holds no {METRICS}")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise storage_error(path, error) from error
    lines = []
    for line in text.splitlines():
        try:
            figures = json.loads(line)
        except ValueError:
            break
        if not isinstance(figures, dict) or not isinstance(figures.get("step"), int):
            raise NotARunError(folder, reason=f"a line of its {METRICS} names no step")
        lines.append(figures)
    return lines


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise LibraryMissingError("TensorBoard", extra="tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)
