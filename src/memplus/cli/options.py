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
        help="A name that `memplus models` lists, a model's directory, or a hub id.",
    ),
]
MemoryPath = Annotated[
    Path | None,
    typer.Option("--memory", "-m", envvar="MEMPLUS_MEMORY", help="The memory, saved as a file."),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        envvar="MEMPLUS_STORE",
        help="A directory of memories; `--id` says which one. By default your own store.",
    ),
]
StoreAlone = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="MEMPLUS_STORE",
        default_factory=default_store,
        show_default="your own store",
        help="The directory of memories.",
    ),
]
Stores = Annotated[
    list[Path],
    typer.Option(
        "--store",
        envvar="MEMPLUS_STORE",
        default_factory=lambda: [default_store()],
        show_default="your own store",
        help="The directory of memories; may be repeated: each memory lies in one of them.",
    ),
]
Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        envvar="MEMPLUS_ID",
        callback=_text,
        autocompletion=complete_id,
        help="Name of the memory in the store; `default` where neither it nor `--store` is given.",
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
        help="Refuse, before writing, what would make the memory larger than this, which it keeps "
        "as its limit; `write` takes 16 GB where neither this nor the memory says so.",
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--rows",
        envvar="MEMPLUS_ROWS",
        help="Keep long-term rows as computed (`exact`), in 8 bits (`int8`), in 4 (`int4`) or in 2 "
        "(`int2`); as its model says in a new memory. Rows that are there in more bits are packed "
        "for good, and earlier states given up.",
    ),
]
Durability = Annotated[
    str,
    typer.Option(
        "--durability",
        envvar="MEMPLUS_DURABILITY",
        help="In a store: `full` lasts at once, `relaxed` within a second.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        envvar="MEMPLUS_JSON",
        callback=_note_json,
        is_eager=True,
        help="One JSON document on stdout.",
    ),
]
