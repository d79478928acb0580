"""Fetching a base model with a command's own lines and bars on stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.mplus.base_cache import CachedBase
    from memplus.mplus.base_progress import Watch
    from memplus.mplus.bases import Base

__all__ = ["fetch", "fetch_base_of"]


def fetch(base: Base, files: Sequence[Path], out: Output, *, verify: bool = False) -> CachedBase:
    """The base model in the cache; lines and bars on stderr where it has to be made.

    Args:
        base, files, verify: as in ``base_cache.pull``.
        out: the command's.

    Raises:
        ModelError, StorageError, UsageError: see ``base_cache.pull``.
    """
    # The bars of libraries would get in the way of this command's own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from memplus.mplus import base_cache

    with _watching(out) as watch:
        return base_cache.pull(base, files, watch=watch, verify=verify)


def fetch_base_of(name: str) -> None:
    """Have the base model in the cache that a model lies over; nothing for any other model.

    Args:
        name: as ``--model`` takes it.

    Raises:
        ModelError, StorageError: see ``base_cache.pull``; or the model's config is damaged.
    """
    from memplus.mplus.bundled import known_base_of

    base = known_base_of(name)
    if base is not None:
        fetch(base, [], Output(as_json=False))


@contextmanager
def _watching(out: Output) -> Iterator[Watch]:
    """Lines and bars on stderr; bars on a terminal only."""
    from memplus.mplus.base_progress import Watch

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=out.notes,
        disable=not out.notes.is_terminal,
    )
    tasks: dict[str, Any] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(tasks[stage], completed=done)

    with bars:
        yield Watch(out.note, progress)
