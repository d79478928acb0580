"""Runs of training and of evaluation."""

from __future__ import annotations

from pathlib import Path

from memplus.errors.base import ConfigError, MemplusError, UsageError

__all__ = [
    "BenchmarkFailedError",
    "ConfigFileError",
    "DamagedRunError",
    "NotARunError",
    "NotFiniteError",
    "NotFiniteResultError",
    "RunMismatchError",
    "TrainingBudgetError",
    "TrainingError",
    "TrainingStartError",
]


class RunMismatchError(UsageError):
    """A folder holds the results of another run, which are not to be mixed with these."""

    template = "{path} holds the results of another run: {differs} differ(s)."
    hint = "Give another folder, or the same model, texts and settings as before."

    def __init__(self, path: str | Path, *, differs: str) -> None:
        self._fill(path=str(path), differs=differs)


class ConfigFileError(ConfigError):
    """One field of a file that describes a run cannot hold this value."""

    template = "{field} in {path} cannot be {value!r}: {reason}."
    hint = "Correct that field and try again; docs/training.md says where fields are explained."

    def __init__(self, path: str | Path, field: str, *, value: object, reason: str) -> None:
        self._fill(path=str(path), field=field, value=value, reason=reason)


class NotARunError(UsageError):
    """A folder that should be that of a training run is another one, or the run is too young."""

    template = "{path} cannot be used as the folder of a training run: {reason}."
    hint = (
        "Give the folder that `memplus train` wrote to: it holds `metrics.jsonl` after the first "
        "report, `checkpoints` after the first checkpoint, and `final` when it is finished."
    )

    def __init__(self, path: str | Path, *, reason: str) -> None:
        self._fill(path=str(path), reason=reason)


class BenchmarkFailedError(MemplusError):
    """Some answers of a benchmark are missing because something failed; none counts as wrong."""

    template = "{count} answers of {systems} are missing. The first failure: {first}"
    hint = "All other figures are valid. The same command retries what failed."

    def __init__(self, systems: str, *, count: int, first: str) -> None:
        self._fill(systems=systems, count=count, first=first)


class DamagedRunError(MemplusError):
    """A line of a file of results is not what it should be."""

    template = "{path} is damaged at line {line}."
    hint = "Truncate the file before that line to resume from there, or give another folder."
    exit_code = 4

    def __init__(self, path: str | Path, *, line: int) -> None:
        self._fill(path=str(path), line=line)


class NotFiniteResultError(MemplusError):
    """A number of a result is infinite or no number: nothing of the result can be trusted."""

    template = "The result's {field} is not a finite number."
    hint = "Run `memplus doctor` on the model: its weights are probably damaged."

    def __init__(self, field: str) -> None:
        self._fill(field=field)


class TrainingError(MemplusError):
    """Training cannot start, or cannot go on."""

    template = "Training stopped: {reason}."
    hint = "Checkpoints in the run's folder are valid; `--resume` continues from the newest."

    def __init__(self, reason: str) -> None:
        self._fill(reason=reason)


class TrainingStartError(TrainingError):
    """Training cannot begin or go on as it was asked for; what was trained before is untouched."""

    template = "Training cannot start: {reason}."
    hint = "Put that right and give the same command again."


class NotFiniteError(TrainingError):
    """A loss or a gradient is infinite or no number; nothing was learned from it."""

    template = "Training stopped: {what} of step {step}, task {task!r}, is not finite."
    hint = (
        "Use a lower learning rate or a longer warm-up. Checkpoints in the run's folder are valid; "
        "`--resume` continues from the newest."
    )

    def __init__(self, what: str, *, task: str, step: int) -> None:
        self._fill(what=what, task=task, step=step)


class TrainingBudgetError(TrainingError):
    """A run would need more memory than there is; said before its first step."""

    template = "This run needs about {needed:.1f} GiB, but {given:.1f} GiB are available: {parts}."
    hint = (
        "Try model.gradient_checkpointing, fewer run.documents, shorter chunks, fewer rows or a "
        "smaller run.stored_rows; "
        "run.memory_gib overrides the memory assumed to be available."
    )
    exit_code = 2

    def __init__(self, *, needed: float, given: float, parts: str) -> None:
        self._fill(needed=needed, given=given, parts=parts)
