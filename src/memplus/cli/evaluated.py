"""What an evaluation is run on: systems over the model that the flags name, and texts."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memplus.cli.opening import load_model
from memplus.errors import StorageError
from memplus.errors.base import storage_error, storage_errors

if TYPE_CHECKING:
    from memplus.evaluation.engine.bench import Bench
    from memplus.systems.shared import Shared

__all__ = [
    "TextFiles",
    "check_folder",
    "make_folder",
    "open_bench",
    "open_shared",
    "open_table_bench",
    "read_texts",
]

TextFiles = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Texts to read (also `.gz`, or `.jsonl` with one text per line). Default: Python's "
        "own documentation."
    ),
]


def open_shared(model: str, *, device: str | None, dtype: str | None) -> Shared:
    """The model that systems share, loaded when one of them first needs it.

    Args:
        model: as ``--model`` gives it.
        device: as ``--device`` gives it.
        dtype: as ``--dtype`` gives it.
    """
    from memplus.systems.shared import Shared

    return Shared(lambda: load_model(model, device=device, dtype=dtype))


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
    from memplus.bench import open_systems

    names = None if systems is None else [name.strip() for name in systems.split(",")]
    return open_systems(names, open_shared(model, device=device, dtype=dtype))


def open_table_bench(model: str, *, device: str | None, dtype: str | None) -> Bench:
    """A model's text in the prompt, its memories, and no memory, side by side.

    Args:
        model: as ``--model`` gives it.
        device: as ``--device`` gives it.
        dtype: as ``--dtype`` gives it.

    Raises:
        ModelError: see ``load_model``.
    """
    from memplus.evaluation.engine.bench import Bench
    from memplus.systems.registry import make_systems, usual_systems

    shared = open_shared(model, device=device, dtype=dtype)
    systems = [*make_systems(["full_context"], shared), *usual_systems(shared)]
    return Bench(systems, shared.reference)


def read_texts(paths: list[Path] | None) -> list[str]:
    """What the given files hold; Python's own documentation where none is given.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: one cannot be read as text.
        UsageError: a line of a ``.jsonl`` file has no text.
    """
    from memplus.data import corpus
    from memplus.evaluation.tasks.demonstration import language_documentation

    return list(corpus.read_texts(paths)) if paths else [language_documentation()]


def check_folder(path: Path) -> None:
    """Refuse a place where no folder can be made, and make none.

    Raises:
        StorageError: something else stands there or above it, or nothing may be written there.
    """
    with storage_errors(path):
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        code = errno.EACCES if there.is_dir() else errno.ENOTDIR
        raise StorageError(path, reason=os.strerror(code), code=code)


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
