"""Flags that several commands share; each can also be set in the environment (flags win)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Device", "Dtype", "MaxBytes", "MemoryPath", "Model", "Seed"]

Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="MEMPLUS_MODEL",
        help="`nano` (bundled), a model's directory, or a hub id.",
    ),
]
MemoryPath = Annotated[
    Path,
    typer.Option("--memory", "-m", envvar="MEMPLUS_MEMORY", help="The saved memory."),
]
Seed = Annotated[
    int,
    typer.Option("--seed", envvar="MEMPLUS_SEED", help="Seed of what is chosen at random."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", envvar="MEMPLUS_DEVICE", help="`cpu` or `cuda`."),
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", envvar="MEMPLUS_DTYPE", help="`float32`, `bfloat16` or `float16`."),
]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        envvar="MEMPLUS_MAX_BYTES",
        min=1,
        help="Refuse, before writing, what would make the memory larger than this.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", envvar="MEMPLUS_JSON", help="One JSON document on stdout."),
]
