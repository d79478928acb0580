"""``memplus serve --ray``: the flags that only several machines need, and starting it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from memplus.cli.fetching import fetch_base_of
from memplus.cli.output import Output
from memplus.cli.place import made_store
from memplus.errors import LibraryMissingError

if TYPE_CHECKING:
    from pathlib import Path

    from memplus.cli.flags import ModelFlags
    from memplus.server.settings import ServerSettings

__all__ = ["MachineFlags", "serve_on_ray"]

_RAY = "With --ray: "


@dataclass(frozen=True)
class MachineFlags:
    """How many processes, on how many machines."""

    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Serve from several processes with Ray Serve, on the cluster at RAY_ADDRESS or "
            "else on this machine. See docs/scaling.md.",
        ),
    ] = False
    replicas: Annotated[
        int, typer.Option(help=_RAY + "minimum number of model processes.", min=1)
    ] = 1
    max_replicas: Annotated[
        int | None,
        typer.Option(help=_RAY + "maximum under load; default: --replicas.", min=1),
    ] = None
    cpus: Annotated[float, typer.Option(help=_RAY + "CPUs per model process.", min=0.01)] = 1.0
    gpus: Annotated[float, typer.Option(help=_RAY + "GPUs per model process.", min=0)] = 0.0
    ingresses: Annotated[
        int, typer.Option(help=_RAY + "processes that accept and forward requests.", min=1)
    ] = 1


def serve_on_ray(
    flags: MachineFlags, chosen: ModelFlags, store: Path, ram: int | None, settings: ServerSettings
) -> None:
    """Serve until SIGTERM.

    Raises:
        LibraryMissingError: the extra ``ray`` is not installed.
        ConfigError: fewer replicas at most than always.
        UsageError: the network without keys.
        StorageError, MemoryFileError: the store cannot be used.
    """
    try:
        from memplus.server.ray.running import run
    except ImportError as error:
        raise LibraryMissingError(str(error.name), extra="ray") from error
    from memplus.server.ray.deployment import Deployed

    fetch_base_of(chosen.model)
    deployed = Deployed(
        model=chosen.model,
        store=str(store.absolute()),
        device=chosen.device or "cpu",
        dtype=chosen.dtype,
        ram=ram,
        replicas=flags.replicas,
        max_replicas=flags.max_replicas or flags.replicas,
        ingresses=flags.ingresses,
        cpus=flags.cpus,
        gpus=flags.gpus,
        settings=settings,
    )
    out = Output(as_json=False)
    out.note(f"Memories: {deployed.store} ({len(made_store(store))} present).")
    run(deployed, lambda url: out.note(f"Listening on {url}/v1."))
