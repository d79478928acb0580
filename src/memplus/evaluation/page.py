"""A page that compares systems: one figure of every benchmark first, then all tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from memplus.evaluation.benchmark import Benchmark
from memplus.evaluation.benchmark_tables import markdown, overview_rows, table_lines

__all__ = ["Made", "machine_kind", "page"]

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Made:
    """How a page came about."""

    command: str
    """For whoever wants to make it again."""
    dtype: str
    """Of the weights."""
    threads: int
    """That a product of matrices may take."""
    remark: str = ""
    """What should be known beside it."""


def page(found: Sequence[Benchmark], made: Made) -> str:
    """The page as Markdown.

    Args:
        found: benchmarks that ran, at least one.
        made: how.
    """
    threads = "1 thread" if made.threads == 1 else f"{made.threads} threads"
    asked = ", ".join(f"{one.task} {_asked(one)}" for one in found)
    head = [
        "# Systems of remembering, side by side",
        "",
        f"Made on {date.today().isoformat()} with {found[0].model} in {made.dtype}, {threads} of "
        f"{machine_kind()}, by",
        "",
        f"    {made.command}",
        "",
        *([made.remark, ""] if made.remark else []),
        "One figure of each benchmark, over all of its questions whatever their kind and length; "
        "shares in %, 95% intervals; of perplexity less is better.",
        f"Questions: {asked}; a system that keeps nothing is asked each only once.",
        "",
        *table_lines(overview_rows(found)),
        "",
    ]
    return "\n".join(head) + "\n" + markdown(found)


def _asked(one: Benchmark) -> int:
    return max((found.headline.asked for found in one.results if found.headline), default=0)


def machine_kind() -> str:
    """How many processors there are, and their name."""
    name = platform.processor() or platform.machine()
    if _CPUINFO.exists():
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{os.cpu_count() or 1} x {name}"
