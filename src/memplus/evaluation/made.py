"""How figures came about: what somebody needs who wants to make them again."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

__all__ = ["Made", "machine_kind", "today"]

_CPUINFO = Path("/proc/cpuinfo")


def machine_kind() -> str:
    """How many processors there are, and their name."""
    name = platform.processor() or platform.machine()
    if _CPUINFO.exists():
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{os.cpu_count() or 1} x {name}"


def today() -> str:
    """The date, as YYYY-MM-DD."""
    return date.today().isoformat()


@dataclass(frozen=True, slots=True)
class Made:
    """How the figures of one command came about."""

    command: str
    """Without the paths of the machine."""
    dtype: str
    """Of the weights."""
    threads: int
    """That a product of matrices may take."""
    remark: str = ""
    """What should be known beside it."""
    date: str = field(default_factory=today)
    machine: str = field(default_factory=machine_kind)
