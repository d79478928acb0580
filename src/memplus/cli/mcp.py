"""``memplus mcp``: memories as tools, for programs that start their tool servers themselves."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Annotated

import typer

from memplus.cli.flags import ModelFlags, with_groups
from memplus.cli.opening import load_model
from memplus.cli.options import Ram, StoreAlone
from memplus.cli.output import STDOUT
from memplus.cli.place import made_store
from memplus.errors import LibraryMissingError, StreamError

__all__ = ["mcp"]


@with_groups
def mcp(
    *,
    store: StoreAlone,
    chosen: ModelFlags,
    ram: Ram = None,
    memory: Annotated[
        str, typer.Option("--memory-name", help="Memory to use for calls that name none.")
    ] = "",
    tenant: Annotated[str, typer.Option(help="Tenant whose memories are served.")] = "",
    only: Annotated[
        bool, typer.Option("--only", help="Serve only the memory given by --memory-name.")
    ] = False,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only", help="Allow asking and searching, but not writing or forgetting."
        ),
    ] = False,
    search_and_fetch: Annotated[
        bool,
        typer.Option(
            "--search-and-fetch", help="Add the tools search and fetch, for clients that need them."
        ),
    ] = False,
) -> None:
    """Serve the memories of a store as MCP tools over standard input and output."""
    try:
        from memplus.server.mcp import over_stdio
        from memplus.server.principals import SCOPES, Principal, Scope, check_tenant
        from memplus.server.services import Services
        from memplus.server.settings import ServerSettings
    except ImportError as error:
        raise LibraryMissingError(str(error.name), extra="server") from error

    check_tenant(tenant)
    if only and not memory:
        raise typer.BadParameter("--only needs --memory-name NAME.")
    _require_streams()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    services = Services(
        made_store(store, ram=ram),
        lambda: load_model(chosen.model, device=chosen.device, dtype=chosen.dtype),
        ServerSettings(search_and_fetch=search_and_fetch),
        model_name=chosen.model,
    )
    scopes: frozenset[Scope] = frozenset({"read"}) if read_only else frozenset(SCOPES)
    who = Principal(tenant, scopes=scopes, memory=memory if only else "")
    asyncio.run(over_stdio(services, who, memory))


def _require_streams() -> None:
    """Refuse to serve over streams that are closed.

    Raises:
        StreamError: one of the two is.
    """
    name = "Standard input"
    try:
        os.read(sys.stdin.fileno(), 0)
        name = STDOUT
        os.write(sys.stdout.fileno(), b"")
    except OSError as error:
        raise StreamError(name, error) from error
