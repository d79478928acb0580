"""What a finished run of M+ learned from, in a file beside its model.

The words are those of the records of the systems that remember in vectors
(``systems.latent.weights``), so that one table can say what each learned from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memplus.files import write_aside
from memplus.training.tasks.learned_from import LearnedFrom
from memplus.training.text.run_config import TrainingConfig

__all__ = ["RECORD", "write_record"]

RECORD = "record.json"
_FORMAT = 1
_TRAINED = "trained"


def write_record(folder: Path, config: TrainingConfig, learned_from: LearnedFrom | None) -> None:
    """Say in the model's folder how it was made.

    Args:
        folder: of the finished model.
        config: of the run.
        learned_from: what was counted; None: nobody counted, and the record does not say.

    Raises:
        StorageError: the disk refused.
    """
    given = config.model
    trained: dict[str, Any] = {
        "steps": config.run.steps,
        **({} if learned_from is None else learned_from.counts),
        "tasks": [one.label for one in config.tasks],
        "seed": config.run.seed,
        "learning_rate": config.optimizer.learning_rate,
        "model": given.start or given.backbone,
    }
    if given.start is not None and (before := _trained(Path(given.start) / RECORD)) is not None:
        trained["start"] = before
    text = json.dumps({"format": _FORMAT, _TRAINED: trained}, indent=2)
    write_aside(folder / RECORD, f"{text}\n".encode())


def _trained(record: Path) -> dict[str, Any] | None:
    """What an earlier stage's record says; None where it has none that can be read."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))[_TRAINED]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None
