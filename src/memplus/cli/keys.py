"""``memplus keys``: who may reach the memories of a store over the network."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from memplus.cli.flags import OutputFlags, with_groups
from memplus.cli.options import StoreAlone
from memplus.cli.place import existing_store, made_store
from memplus.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from memplus.server.keys import Keys
    from memplus.server.principals import Scope

__all__ = ["keys"]

keys = typer.Typer(
    name="keys", help="Create, list and revoke the keys of a server.", no_args_is_help=True
)

KeyName = Annotated[str, typer.Argument(help="Label of the key, such as a person or a program.")]
Revoked = Annotated[str, typer.Argument(help="Name or id of the key.")]


@keys.command()
@with_groups
def add(
    name: KeyName,
    *,
    store: StoreAlone,
    tenant: Annotated[
        str,
        typer.Option(
            help="Tenant whose memories it reaches; tenants are isolated from each other."
        ),
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, write or admin; may be repeated. Default: read and write."),
    ] = None,
    memory: Annotated[
        str, typer.Option(help="Only memory that it reaches, or a prefix of names: PREFIX*.")
    ] = "",
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Trust headers of its requests that name a user.")
    ] = False,
    shown: OutputFlags,
) -> None:
    """Create a key. It is printed once, alone on its line; only a hash of it is stored.

    Once there is a key, every request to the server needs one.
    """
    out = shown.open()
    scopes = tuple(cast("list[Scope]", scope or ["read", "write"]))
    made, secret = _keys(store).add(
        name, tenant=tenant, scopes=scopes, memory=memory, gateway=gateway
    )

    def show(console: Console) -> None:
        sys.stdout.write(f"{secret}\n")

    if not out.as_json:
        out.note(f"The key of {name}, which is not shown again:")
    out.result(asdict(made) | {"key": secret}, show=show)


@keys.command("list")
@with_groups
def list_all(*, store: StoreAlone, shown: OutputFlags) -> None:
    """List all keys by their first characters, including revoked ones."""
    out = shown.open()
    there = _there(store) if store.exists() else None
    found = [] if there is None else there.all()

    def show(console: Console) -> None:
        if not found:
            console.print("There are no keys yet.", markup=False)
            return
        table = Table("name", "tenant", "key", "scopes", "memory", "revoked")
        for one in found:
            ended = "yes" if one.revoked else ""
            table.add_row(
                one.name, one.tenant, f"{one.prefix}...", " ".join(one.scopes), one.memory, ended
            )
        console.print(table)

    rows: list[dict[str, Any]] = [asdict(one) for one in found]
    out.result({"keys": rows}, show=show)


@keys.command()
@with_groups
def revoke(name: Revoked, *, store: StoreAlone, shown: OutputFlags) -> None:
    """Revoke a key, with immediate effect even on a running server."""
    out = shown.open()
    there = _there(store)
    if there is None:
        raise UsageError(f"There is no key named {name!r}: {store} has none yet.")
    ended = there.revoke(name)
    line = f"Revoked the key of {ended.name}."
    out.result(asdict(ended), show=lambda console: console.print(line, markup=False))


def _there(store: Path) -> Keys | None:
    """The keys of a store that is there; None where it never had one.

    Raises:
        NotFoundError, NotAStoreError: see ``existing_store``.
    """
    from memplus.server.database import ServerDatabase, database_of
    from memplus.server.keys import SCHEMA, Keys

    folder = database_of(existing_store(store).path)
    return None if folder is None else Keys(ServerDatabase(folder, SCHEMA))


def _keys(store: Path) -> Keys:
    """The keys of a store, which is made where there is none: keys come before memories."""
    from memplus.server.database import ServerDatabase, database_of
    from memplus.server.keys import SCHEMA, Keys

    path = made_store(store).path
    return Keys(ServerDatabase(database_of(path) or path, SCHEMA))
