"""``memplus serve``: memories over HTTP."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from memplus.cli.flags import ModelFlags, with_groups
from memplus.cli.machines import MachineFlags, serve_on_ray
from memplus.cli.opening import load_model
from memplus.cli.options import Ram, Stores
from memplus.cli.output import Output
from memplus.cli.place import served_store
from memplus.errors import LibraryMissingError, UsageError

__all__ = ["serve"]

Traces = Annotated[
    bool, typer.Option("--traces", help="Send OpenTelemetry spans as set by OTEL_* variables.")
]
Port = Annotated[
    int, typer.Option("--port", help="Port to listen on; 0: any free one.", min=0, max=65535)
]
WriteReplies = Annotated[
    bool,
    typer.Option("--write-replies", help="In chats, write the model's replies to the memory too."),
]
SearchAndFetch = Annotated[
    bool,
    typer.Option(
        "--search-and-fetch", help="Add the MCP tools search and fetch, for clients that need them."
    ),
]
TokensPerMinute = Annotated[
    int,
    typer.Option(
        "--tokens-per-minute",
        help="Maximum tokens read, generated and written per key and minute; 0: unlimited.",
        min=0,
    ),
]
_GATEWAY_SECRET = "MEMPLUS_GATEWAY_SECRET"
"""Environment variable; a secret is never on the command line, where others can read it."""


@with_groups
def serve(
    *,
    store: Stores,
    chosen: ModelFlags,
    machines: MachineFlags,
    ram: Ram = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Further host name that requests may use; `*`: any. May be repeated."),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may call it from a browser (CORS). May be repeated."),
    ] = None,
    write_replies: WriteReplies = False,
    search_and_fetch: SearchAndFetch = False,
    requests_per_minute: Annotated[
        int, typer.Option(help="Maximum requests per key and minute; 0: unlimited.", min=0)
    ] = 600,
    tokens_per_minute: TokensPerMinute = 0,
    traces: Traces = False,
    shutdown_timeout: Annotated[
        float, typer.Option(help="Seconds that running requests get after SIGTERM.", min=0)
    ] = 30.0,
) -> None:
    """Serve the memories of a store to OpenAI clients, MCP clients and a browser."""
    try:
        from memplus.server.running import run
        from memplus.server.services import Services
        from memplus.server.settings import ServerSettings
    except ImportError as error:
        raise LibraryMissingError(str(error.name), extra="server") from error

    standard = ServerSettings()
    settings = ServerSettings(
        host=host,
        port=port,
        allowed_hosts=(*standard.allowed_hosts, host, *(allowed_host or [])),
        allowed_origins=tuple(allowed_origin or []),
        write_replies=write_replies,
        search_and_fetch=search_and_fetch,
        traces=traces,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        shutdown_seconds=shutdown_timeout,
        gateway_secret=os.environ.get(_GATEWAY_SECRET, ""),
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("mcp").setLevel(logging.WARNING)
    if machines.ray:
        if len(store) > 1:
            raise UsageError("With --ray, give a single --store, which all machines share.")
        serve_on_ray(machines, chosen, store[0], ram, settings)
        return
    opened = served_store(store, ram=ram)
    services = Services(
        opened,
        lambda: load_model(chosen.model, device=chosen.device, dtype=chosen.dtype),
        settings,
        model_name=chosen.model,
    )
    out = Output(as_json=False)
    places = ", ".join(str(path) for path in opened.paths)
    out.note(f"Memories: {places} ({len(opened)} present).")
    open_to_all = "anyone on this machine; `memplus keys add` creates keys"
    who = "anyone who has a key" if services.keys else open_to_all
    run(services, lambda url: out.note(f"Listening on {url}/v1 for {who}."))
