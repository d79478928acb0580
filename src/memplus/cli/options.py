"""Flags that several commands share; each can also be set in the environment (flags win)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AsJson",
    "Device",
    "Dtype",
    "Id",
    "MaxBytes",
    "MemoryPath",
    "Model",
    "Ram",
    "Seed",
    "Store",
    "StoreAlone",
    "Wait",
]

Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="MEMPLUS_MODEL",
        help="`nano` (bundled), a model's directory, or a hub id.",
    ),
]
MemoryPath = Annotated[
    Path | None,
    typer.Option("--memory", "-m", envvar="MEMPLUS_MEMORY", help="The memory, saved as a file."),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="MEMPLUS_STORE", help="A directory of memories; `--id` says which one."
    ),
]
StoreAlone = Annotated[
    Path,
    typer.Option("--store", envvar="MEMPLUS_STORE", help="The directory of memories."),
]
Id = Annotated[
    str | None,
    typer.Option("--id", envvar="MEMPLUS_ID", help="Name of the memory in the store."),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        envvar="MEMPLUS_WAIT",
        min=0,
        help="Seconds to wait while another process writes to the memory.",
    ),
]
Ram = Annotated[
    int | None,
    typer.Option(
        "--ram",
        envvar="MEMPLUS_RAM",
        min=1,
        help="Bytes that the rows of a memory in a store may take in memory.",
    ),
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
