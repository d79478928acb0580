"""The systems that ``--system`` asks for, over the model that the other flags name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memplus.cli.opening import load_model
from memplus.errors.base import storage_error

if TYPE_CHECKING:
    from memplus.evaluation.engine.bench import Bench

__all__ = ["make_folder", "open_bench"]


def open_bench(systems: str | None, model: str, *, device: str | None, dtype: str | None) -> Bench:
    """Systems by their names, and the model's tokenizer as the one that counts.

    Args:
        systems: names with commas between; None: the model's memory and no memory.
        model: as ``--model`` gives it.
        device: as ``--device`` gives it.
        dtype: as ``--dtype`` gives it.

    Raises:
        ConfigError: a system is unknown, or the model cannot serve it.
        ModelError: see ``load_model``.
    """
    from memplus.evaluation.engine.bench import Bench
    from memplus.systems.registry import make_systems, usual_systems
    from memplus.systems.shared import Shared

    shared = Shared(lambda: load_model(model, device=device, dtype=dtype))
    if systems is None:
        return Bench(usual_systems(shared), shared.reference)
    names = [name.strip() for name in systems.split(",")]
    return Bench(make_systems(names, shared), shared.reference)


def make_folder(path: Path) -> Path:
    """A folder for results, made before the work for them is done.

    Raises:
        NotFoundError, StorageError: it cannot be made there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return path
