"""``memplus memories``: the memories of a store, looked after."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memplus.cli.flags import ModelFlags, OutputFlags, with_groups
from memplus.cli.options import (
    MaxBytes,
    Name,
    NewName,
    Rows,
    Seed,
    StoreAlone,
    Wait,
)
from memplus.cli.output import Output
from memplus.cli.place import Creation, Place, administered, existing_store
from memplus.cli.standard import default_store
from memplus.errors import MemoryFileError, UnknownMemoryError

if TYPE_CHECKING:
    from memplus.server.erasure import Choice
    from memplus.store import MemoryStore
    from memplus.store.administration import Within
    from memplus.store.journal import Commit
    from memplus.store.manifest import Manifest

__all__ = ["memories"]

memories = typer.Typer(
    name="memories", help="Manage the memories of a store.", no_args_is_help=True
)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _as_words(key: str, value: Any) -> str:
    """A field of one memory as people read it."""
    if key in ("created", "changed"):
        return f"{_when(value)} (UTC)"
    if value is None:
        return "no limit"
    if key in ("bytes", "max_bytes"):
        return f"{value:,} ({value / 1e6:.1f} MB)"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _described(manifest: Manifest) -> dict[str, Any]:
    names = ("id", "model", "rows", "writes", "tokens", "waiting", "created", "changed")
    return {name: getattr(manifest, name) for name in names}


def _listed(store: MemoryStore, name: str) -> dict[str, Any] | None:
    """A memory as the list shows it, one that is damaged too; None: deleted meanwhile."""
    try:
        return _described(store.manifest(name)) | {"bytes": store.size(name)}
    except UnknownMemoryError:
        return None
    except MemoryFileError as error:
        return {"id": name, "damaged": str(error)}


@memories.command("list")
@with_groups
def list_all(*, store: StoreAlone, shown: OutputFlags) -> None:
    """List all memories with their sizes and last changes."""
    out = shown.open()
    rows: list[dict[str, Any]] = []
    if store != default_store() or store.exists():
        opened = existing_store(store)
        names = opened.names()
        rows = [one for name in names if (one := _listed(opened, name))]
        if nameless := len(opened) - len(names):
            out.note(f"{nameless} more so damaged that not even the name can be read.")

    def show(console: Console) -> None:
        if not rows:
            _say(console, f"There are no memories in {store} yet.")
            return
        table = Table("id", "model", "tokens", "writes", "size", "last change (UTC)")
        for one in rows:
            if "damaged" in one:
                table.add_row(Text(one["id"]), "damaged")
                continue
            tokens = one["tokens"] + one["waiting"]
            sizes = (f"{tokens:,}", f"{one['writes']:,}", f"{one['bytes'] / 1e6:.1f} MB")
            names = (Text(one["id"]), Text(one["model"]))
            table.add_row(*names, *sizes, _when(one["changed"]))
        console.print(table)

    out.result({"memories": rows}, show=show)


@memories.command()
@with_groups
def create(
    name: NewName,
    *,
    store: StoreAlone,
    max_bytes: MaxBytes = None,
    rows: Rows = None,
    seed: Seed = 0,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Create an empty memory; `write`, `tell` and `chat` also create a missing one."""
    out = shown.open()
    creation = Creation(seed, max_bytes, rows)
    with ExitStack() as stack:
        within: Within = nullcontext
        if store.exists():
            within = partial(stack.enter_context(administered(store)).making, name)
        Place(store=store, id=name).make(chosen.load(), creation, within)
    manifest = existing_store(store).manifest(name)
    line = f"Created {name} for the model {manifest.model}, with {manifest.rows} rows."
    out.result(_described(manifest), show=lambda console: _say(console, line))


@memories.command()
@with_groups
def show(name: Name, *, store: StoreAlone, shown: OutputFlags) -> None:
    """Show one memory: model, size, files. Loads no model."""
    out = shown.open()
    opened = existing_store(store)
    manifest = opened.manifest(name)
    size = opened.size(name)
    data = _described(manifest) | {
        "bytes": size,
        "max_bytes": opened.limit(name),
        "files": sorted(manifest.files()),
        "states": len(opened.history(name)),
    }

    def text(console: Console) -> None:
        for key, value in data.items():
            console.print(f"{key}: {_as_words(key, value)}", markup=False)

    out.result(data, show=text)


@memories.command()
@with_groups
def fork(
    name: Name,
    new_name: NewName,
    *,
    store: StoreAlone,
    shown: OutputFlags,
) -> None:
    """Create a second memory that begins as a copy of this one; they share files on disk."""
    out = shown.open()
    with administered(store) as opened:
        _warn(out, opened.waiting(name), f"are not in {new_name}")
        opened.fork(name, new_name)
    line = f"Created {new_name} as a fork of {name}."
    out.result({"id": name, "fork": new_name}, show=lambda console: _say(console, line))


@memories.command()
@with_groups
def move(
    name: Name,
    *,
    to: Annotated[
        Path, typer.Option("--to", help="Directory of the other store, created if missing.")
    ],
    store: StoreAlone,
    wait: Wait = 0.0,
    shown: OutputFlags,
) -> None:
    """Move a memory to another store; if interrupted, exactly one of the two has it, whole."""
    out = shown.open()
    with administered(store) as opened:
        opened.store.manifest(name)
        opened.move(name, to, wait=wait)
    line = f"Moved {name} to {to}."
    out.result({"id": name, "to": str(to)}, show=lambda console: _say(console, line))


@memories.command()
@with_groups
def delete(name: Name, *, store: StoreAlone, wait: Wait = 0.0, shown: OutputFlags) -> None:
    """Delete a memory and what a server keeps about it; its forks keep what they share."""
    out = shown.open()
    with administered(store) as opened:
        opened.delete(name, wait=wait)
    out.result({"deleted": name}, show=lambda console: _say(console, f"Deleted {name}."))


@memories.command()
@with_groups
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File to write.")],
    *,
    store: StoreAlone,
    shown: OutputFlags,
) -> None:
    """Export a memory's current state, with its texts, to one portable file."""
    out = shown.open()
    with administered(store) as opened:
        _warn(out, opened.waiting(name), "are not in the file")
        opened.export(name, file)
    size = file.stat().st_size
    data = {"id": name, "file": str(file), "bytes": size}
    line = f"Exported {name} to {file} ({size / 1e6:.1f} MB)."
    out.result(data, show=lambda console: _say(console, line))


@memories.command("import")
@with_groups
def import_one(
    file: Annotated[Path, typer.Argument(help="File made by `memplus memories export`.")],
    *,
    store: StoreAlone,
    name: Annotated[
        str | None, typer.Option("--id", help="Name for it, instead of its own.")
    ] = None,
    shown: OutputFlags,
) -> None:
    """Import a memory from a file, once every byte of it has been checked."""
    from memplus.server.administering import Administered
    from memplus.store import MemoryStore

    out = shown.open()
    with Administered(MemoryStore(store)) as opened:
        manifest = opened.import_memory(file, name)
    line = f"{manifest.id}: {manifest.tokens:,} tokens in {manifest.writes:,} writes."
    out.result(_described(manifest), show=lambda console: _say(console, line))


@memories.command()
@with_groups
def verify(
    name: Annotated[str | None, typer.Argument(help="Memory to check. Default: all.")] = None,
    *,
    store: StoreAlone,
    shown: OutputFlags,
) -> None:
    """Check every byte; stop at the first damage, naming file and place, with exit code 4."""
    out = shown.open()
    opened = existing_store(store)
    names = [one.id for one in opened.memories()] if name is None else [name]
    checked = {one: opened.verify(one) for one in names}

    def text(console: Console) -> None:
        for one, size in checked.items():
            console.print(f"{one}: all {size:,} bytes are intact.", markup=False)

    out.result({"verified": checked}, show=text)


@memories.command()
@with_groups
def history(name: Name, *, store: StoreAlone, shown: OutputFlags) -> None:
    """List the states that `rollback` can go back to."""
    out = shown.open()
    found = existing_store(store).history(name)

    def text(console: Console) -> None:
        table = Table(
            "commit", "write", "tokens", "waiting", "what", "time (UTC)", title=Text(name)
        )
        for one in found:
            sizes = (str(one.number), f"{one.writes:,}", f"{one.tokens:,}", str(one.waiting))
            table.add_row(*sizes, Text(one.what), _when(one.time))
        console.print(table)

    out.result({"id": name, "states": [_state(one) for one in found]}, show=text)


def _state(commit: Commit) -> dict[str, Any]:
    names = ("writes", "tokens", "waiting", "what", "time")
    return {"commit": commit.number} | {name: getattr(commit, name) for name in names}


@memories.command()
@with_groups
def rollback(
    name: Name,
    to_write: Annotated[
        int | None,
        typer.Argument(min=0, help="A write listed by `history`; its newest state counts."),
    ] = None,
    *,
    store: StoreAlone,
    commit: Annotated[
        int | None, typer.Option("--commit", min=0, help="A commit listed by `history`.")
    ] = None,
    wait: Wait = 0.0,
    shown: OutputFlags,
) -> None:
    """Go back to the state after a write or a commit; everything later is lost."""
    out = shown.open()
    with administered(store) as opened:
        opened.rollback(name, to_write, commit, wait=wait)
        found = opened.store.manifest(name)
    which = f"write {to_write}" if commit is None else f"commit {commit}"
    line = f"{name} is back at its state after {which}."
    data = {"id": name, "commit": found.commit, "writes": found.writes}
    out.result(data, show=lambda console: _say(console, line))


@memories.command()
@with_groups
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
        str | None, typer.Option("--match", help="Every write whose text contains this.")
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Write all other texts again, so that no trace stays; all texts if none is named.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be forgotten, with its text.")
    ] = False,
    wait: Wait = 0.0,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Forget writes: remove their rows and texts, and all earlier states.

    If a server has used the store, its stored responses, conversations and notes about these writes
    are removed too; texts that it has accepted for the memory are written first.
    """
    out = shown.open()
    opened = administered(store)
    loaded = chosen.load()
    if rebuild and source is None and not write and match is None:
        write = []
    if dry_run:
        with opened, opened.store.open(name, loaded) as memory:
            _warn(out, opened.waiting(name), "may be forgotten too")
            choice = opened.chosen(memory, source, write, match)
        _show_choice(out, name, choice)
        return
    with opened, opened.writing(name, loaded, wait=wait) as memory:
        gone, also = opened.forget(memory, source=source, write=write, match=match, rebuild=rebuild)
    data = {
        "id": name,
        "writes": list(gone.writes),
        "short_term_rows": gone.short_term_rows,
        "long_term_rows": gone.long_term_rows,
        "tail_tokens": gone.tail_tokens,
        "also_removed": also,
    }
    rows = gone.short_term_rows + gone.long_term_rows
    line = f"Forgot {len(gone.writes)} writes, {rows:,} rows and {gone.tail_tokens} waiting tokens."
    if also:
        counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in also.items())
        line += f" Removed what the server kept about them: {counts}."
    if rebuild:
        line += " Everything else has been written again."
    out.result(data, show=lambda console: _say(console, line))


def _show_choice(out: Output, name: str, choice: Choice) -> None:
    """Say what would be forgotten."""
    texts = choice.texts.values()
    data = {
        "id": name,
        "dry_run": True,
        "writes": [
            {"id": one.id, "source": one.source, "tokens": one.tokens, "text": one.text}
            for one in texts
        ],
        "tail_tokens": choice.tail_tokens,
    }

    def show(console: Console) -> None:
        for one in texts:
            _say(console, f"write {one.id} of {one.source}: {one.text}")
        counts = f"{len(choice.texts)} writes and {choice.tail_tokens} waiting tokens"
        _say(console, f"{counts} would be forgotten.")

    out.result(data, show=show)


def _warn(out: Output, waiting: int, where: str) -> None:
    """Say what a server took in that a copy cannot have."""
    if waiting:
        out.note(f"{waiting} texts that a server has accepted are not written yet and {where}.")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False)
