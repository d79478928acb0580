"""How fetching and converting a base model tells what it is doing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["QUIET", "Watch", "watch_on_stderr"]


def _ignore(*told: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Watch:
    """Who is told."""

    line: Callable[[str], None] = _ignore
    """Gets one line for people."""
    progress: Callable[[str, int, int], None] = _ignore
    """Gets a stage (``fetching``, ``checking``, ``converting``) and how much of it is done, of how
    much: in bytes, or in steps where there are few; a total of 0 is an unknown one."""


QUIET = Watch()


@contextmanager
def watch_on_stderr() -> Iterator[Watch]:
    """Lines and bars on stderr, as the hub's own downloads have them.

    ``HF_HUB_DISABLE_PROGRESS_BARS`` turns the bars off; without a terminal there are none.
    """
    from huggingface_hub.utils.tqdm import tqdm

    make: Any = tqdm
    bars: dict[str, Any] = {}

    def line(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def progress(stage: str, done: int, total: int) -> None:
        if not total or not sys.stderr.isatty():
            return
        if stage not in bars:
            bars[stage] = make(desc=stage, total=total, unit="B", unit_scale=True)
        bars[stage].update(done - bars[stage].n)

    try:
        yield Watch(line, progress)
    finally:
        for bar in bars.values():
            bar.close()
