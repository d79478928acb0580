"""``memplus memories``: the memories of a store, looked after."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from memplus.cli.opening import load_model
from memplus.cli.options import AsJson, Device, Dtype, Model, StoreAlone, Wait
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.store import MemoryStore
    from memplus.store.journal import Commit
    from memplus.store.manifest import Manifest

__all__ = ["memories"]

memories = typer.Typer(
    name="memories", help="Look after the memories of a store.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of the memory.")]


def _store(path: Path) -> MemoryStore:
    from memplus.store import MemoryStore

    return MemoryStore.existing(path)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _described(manifest: Manifest) -> dict[str, Any]:
    names = ("id", "model", "rows", "writes", "tokens", "waiting", "created", "changed")
    return {name: getattr(manifest, name) for name in names}


@memories.command("list")
def list_all(*, store: StoreAlone, as_json: AsJson = False) -> None:
    """List every memory with its size and its last change."""
    out = Output(as_json=as_json)
    found = _store(store).memories()

    def show(console: Console) -> None:
        table = Table("id", "model", "tokens", "writes", "last change (UTC)")
        for one in found:
            sizes = (f"{one.tokens:,}", f"{one.writes:,}")
            table.add_row(one.id, one.model, *sizes, _when(one.changed))
        console.print(table)

    out.result({"memories": [_described(one) for one in found]}, show=show)


@memories.command()
def show(name: Name, *, store: StoreAlone, as_json: AsJson = False) -> None:
    """Show one memory: model, size, files. Needs no model."""
    out = Output(as_json=as_json)
    opened = _store(store)
    manifest = opened.manifest(name)
    size = opened.size(name)
    data = _described(manifest) | {
        "bytes": size,
        "files": sorted(manifest.files()),
        "states": len(opened.history(name)),
    }

    def text(console: Console) -> None:
        for key, value in data.items():
            known = _when(value) if key in ("created", "changed") else value
            console.print(f"{key}: {known}", markup=False)

    out.result(data, show=text)


@memories.command()
def fork(
    name: Name,
    new_name: Annotated[str, typer.Argument(help="Name of the fork.")],
    *,
    store: StoreAlone,
    as_json: AsJson = False,
) -> None:
    """Make a second memory that begins as this one; they share what is on the disk."""
    out = Output(as_json=as_json)
    _store(store).fork(name, new_name)
    line = f"{new_name} begins as {name}."
    out.result({"id": name, "fork": new_name}, show=lambda console: _say(console, line))


@memories.command()
def delete(name: Name, *, store: StoreAlone, wait: Wait = 0.0, as_json: AsJson = False) -> None:
    """Delete a memory; its forks keep what they share with it."""
    out = Output(as_json=as_json)
    _store(store).delete(name, wait=wait)
    out.result({"deleted": name}, show=lambda console: _say(console, f"{name} is deleted."))


@memories.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Where it goes.")],
    *,
    store: StoreAlone,
    as_json: AsJson = False,
) -> None:
    """Write a memory as it is now, with its texts, to one portable file."""
    out = Output(as_json=as_json)
    _store(store).export(name, file)
    size = file.stat().st_size
    data = {"id": name, "file": str(file), "bytes": size}
    line = f"{name} is in {file} ({size / 1e6:.1f} MB)."
    out.result(data, show=lambda console: _say(console, line))


@memories.command("import")
def import_one(
    file: Annotated[Path, typer.Argument(help="A file of `memplus memories export`.")],
    *,
    store: StoreAlone,
    name: Annotated[str | None, typer.Option("--id", help="Another name for it here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a memory from a file; every byte of it is checked first."""
    from memplus.store import MemoryStore

    out = Output(as_json=as_json)
    manifest = MemoryStore(store).import_memory(file, name)
    line = f"{manifest.id}: {manifest.tokens:,} tokens in {manifest.writes:,} writes."
    out.result(_described(manifest), show=lambda console: _say(console, line))


@memories.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="One memory; all by default.")] = None,
    *,
    store: StoreAlone,
    as_json: AsJson = False,
) -> None:
    """Check every byte; the first damaged file and place end the command with code 4."""
    out = Output(as_json=as_json)
    opened = _store(store)
    names = [one.id for one in opened.memories()] if name is None else [name]
    checked = {one: opened.verify(one) for one in names}

    def text(console: Console) -> None:
        for one, size in checked.items():
            console.print(f"{one}: {size:,} bytes are as they were written.", markup=False)

    out.result({"verified": checked}, show=text)


@memories.command()
def history(name: Name, *, store: StoreAlone, as_json: AsJson = False) -> None:
    """List the states that `rollback` can go back to."""
    out = Output(as_json=as_json)
    found = _store(store).history(name)

    def text(console: Console) -> None:
        table = Table("write", "tokens", "waiting", "what", "time (UTC)", title=name)
        for one in found:
            sizes = (f"{one.writes:,}", f"{one.tokens:,}", str(one.waiting))
            table.add_row(*sizes, one.what, _when(one.time))
        console.print(table)

    out.result({"id": name, "states": [_state(one) for one in found]}, show=text)


def _state(commit: Commit) -> dict[str, Any]:
    names = ("writes", "tokens", "waiting", "what", "time")
    return {name: getattr(commit, name) for name in names}


@memories.command()
def rollback(
    name: Name,
    to_write: Annotated[int, typer.Argument(min=0, help="A write that `history` lists.")],
    *,
    store: StoreAlone,
    wait: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Go back to the state after a write; what came later is gone."""
    out = Output(as_json=as_json)
    opened = _store(store)
    opened.rollback(name, to_write, wait=wait)
    line = f"{name} is what it was after write {to_write}."
    data = {"id": name, "writes": to_write}
    out.result(data, show=lambda console: _say(console, line))


@memories.command()
def forget(
    name: Name,
    *,
    store: StoreAlone,
    source: Annotated[
        str | None, typer.Option("--source", help="Everything written under this name.")
    ] = None,
    write: Annotated[
        list[int] | None, typer.Option("--write", help="A write's id; may be repeated.")
    ] = None,
    match: Annotated[
        str | None, typer.Option("--match", help="Every write whose text holds this.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write all others again, so that no trace stays.")
    ] = False,
    wait: Wait = 0.0,
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Forget writes: their rows and their text go, and with them all earlier states."""
    out = Output(as_json=as_json)
    opened = _store(store)
    loaded = load_model(model, device=device, dtype=dtype)
    with opened.open(name, loaded, write=True, wait=wait) as memory:
        gone = memory.forget(source=source, write=write, match=match, rebuild=rebuild)
    data = {
        "id": name,
        "writes": list(gone.writes),
        "short_term_rows": gone.short_term_rows,
        "long_term_rows": gone.long_term_rows,
        "tail_tokens": gone.tail_tokens,
    }
    rows = gone.short_term_rows + gone.long_term_rows
    line = (
        f"{len(gone.writes)} writes, {rows:,} rows and {gone.tail_tokens} waiting tokens are gone."
    )
    out.result(data, show=lambda console: _say(console, line))


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False)
