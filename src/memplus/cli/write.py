"""``memplus write``: text files into a saved memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from memplus.cli.opening import Place, load_model
from memplus.cli.options import (
    AsJson,
    Device,
    Dtype,
    Id,
    MaxBytes,
    MemoryPath,
    Model,
    Ram,
    Seed,
    Store,
    Wait,
)
from memplus.cli.output import Output
from memplus.data.documents import read_document, read_stdin

__all__ = ["write"]

INTERRUPTED = 130


def write(
    files: Annotated[list[Path], typer.Argument(help="UTF-8 text files; `-` is standard input.")],
    *,
    memory: MemoryPath = None,
    store: Store = None,
    id: Id = None,
    flush: Annotated[
        bool, typer.Option("--flush", help="Also write what does not fill a chunk.")
    ] = False,
    max_bytes: MaxBytes = None,
    wait: Wait = 0.0,
    ram: Ram = None,
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Read text files into a memory; it is made where there is none.

    A file (`--memory`) is saved at the end; in a store (`--store`, `--id`) each text lasts once it
    is written. Ctrl-C stops after the chunk being written and saves; press it twice to save
    nothing more.
    """
    from memplus.sessions.interrupt import stoppable
    from memplus.sessions.reading import write_documents

    out = Output(as_json=as_json)
    place = Place(memory, store, id, wait, ram)
    documents = [read_stdin() if str(file) == "-" else read_document(file) for file in files]
    loaded = load_model(model, device=device, dtype=dtype)
    with (
        stoppable() as stopped,
        out.progress() as report,
        place.writing(loaded, seed=seed, max_bytes=max_bytes) as target,
    ):

        def after(source: str, done: int, total: int) -> bool:
            report(source, done, total)
            return stopped()

        reading = write_documents(loaded, target, documents, flush=flush, after=after)
    data = {
        **place.data,
        "interrupted": reading.interrupted,
        "tokens": reading.tokens,
        "writes": reading.writes,
        "waiting": reading.waiting,
        "total_tokens": target.tokens,
        "bytes": target.nbytes,
    }

    def show(console: Console) -> None:
        console.print(
            f"{reading.tokens:,} tokens in {reading.writes:,} writes, {reading.waiting} waiting; "
            f"{place} holds {target.tokens:,} tokens in {target.nbytes / 1e6:.1f} MB.",
            markup=False,
        )

    out.result(data, show=show)
    if reading.interrupted:
        out.note("Interrupted: what was written until then is saved.")
        raise typer.Exit(INTERRUPTED)
