"""Flags that several commands share; each can also be set in the environment (flags win)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from memplus.cli.standard import complete_id, default_store

__all__ = [
    "AsJson",
    "Chosen",
    "Device",
    "Dtype",
    "Durability",
    "Id",
    "MaxBytes",
    "MemoryPath",
    "Model",
    "Name",
    "NewName",
    "OutFolder",
    "Ram",
    "Rows",
    "Seed",
    "Store",
    "StoreAlone",
    "Stores",
    "Wait",
]


@dataclass
class Chosen:
    """What must be known also of a command that failed: read once, with all other flags."""

    as_json: bool = False


def _note_json(ctx: typer.Context, wanted: object) -> object:
    ctx.ensure_object(Chosen).as_json = bool(wanted)
    return wanted


def _text(value: str | None) -> str | None:
    """A name as text.

    Raises:
        BadParameter: its bytes are no UTF-8.
    """
    if value is not None and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise typer.BadParameter("it is not UTF-8 text.") from error
    return value


Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="MEMPLUS_MODEL",
        help="A name listed by `memplus models`, a model directory, or a hub id.",
    ),
]
MemoryPath = Annotated[
    Path | None,
    typer.Option("--memory", "-m", envvar="MEMPLUS_MEMORY", help="File that holds the memory."),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        envvar="MEMPLUS_STORE",
        help="Directory of memories; `--id` names one of them. Default: your own store.",
    ),
]
StoreAlone = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="MEMPLUS_STORE",
        default_factory=default_store,
        show_default="your own store",
        help="Directory of memories.",
    ),
]
Stores = Annotated[
    list[Path],
    typer.Option(
        "--store",
        envvar="MEMPLUS_STORE",
        default_factory=lambda: [default_store()],
        show_default="your own store",
        help="Directory of memories; may be repeated. Each memory is in one of them.",
    ),
]
Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        envvar="MEMPLUS_ID",
        callback=_text,
        autocompletion=complete_id,
        help="Name of the memory in the store. Required with `--store`; otherwise `default`.",
    ),
]
Name = Annotated[
    str,
    typer.Argument(callback=_text, autocompletion=complete_id, help="Name of the memory."),
]
NewName = Annotated[str, typer.Argument(callback=_text, help="Name of the new memory.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        envvar="MEMPLUS_WAIT",
        min=0,
        help="Seconds to wait if another process is writing to the memory.",
    ),
]
Ram = Annotated[
    int | None,
    typer.Option(
        "--ram",
        envvar="MEMPLUS_RAM",
        min=1,
        help="In a store: maximum bytes of RAM for a memory's rows.",
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", envvar="MEMPLUS_SEED", help="Random seed."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", envvar="MEMPLUS_DEVICE", help="`cpu` (default) or `cuda`."),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        envvar="MEMPLUS_DTYPE",
        help="`float32`, `bfloat16` or `float16`; default: automatic.",
    ),
]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        envvar="MEMPLUS_MAX_BYTES",
        min=1,
        help="Size limit in bytes, stored with the memory; a write that would exceed it is "
        "refused. Without a limit, `write` and `tell` allow 16 GB.",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", help="Output folder.")]
Rows = Annotated[
    str | None,
    typer.Option(
        "--rows",
        envvar="MEMPLUS_ROWS",
        help="Keep long-term rows as computed (`exact`) or in 8, 4 or 2 bits (`int8`, `int4`, "
        "`int2`). Default for a new memory: its model's choice. Packing existing rows "
        "is irreversible and drops earlier states.",
    ),
]
Durability = Annotated[
    str,
    typer.Option(
        "--durability",
        envvar="MEMPLUS_DURABILITY",
        help="When a write to a store is on disk: at once (`full`) or within a second (`relaxed`).",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        envvar="MEMPLUS_JSON",
        callback=_note_json,
        is_eager=True,
        help="Print one JSON document.",
    ),
]
