"""Starting it all from the command line, and ending it without losing anything."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve

from memplus.server.ray.application import application, prepare
from memplus.server.ray.deployment import Deployed

__all__ = ["run", "served"]

_NAME = "memplus"
_OBJECT_STORE_BYTES = 256 << 20
"""Of a cluster of this machine alone: requests and answers pass through it, no weights."""
_HERE = "127.0.0.1"


@contextmanager
def served(deployed: Deployed) -> Iterator[str]:
    """Serve inside the block; gives the address.

    The cluster is the one that ``RAY_ADDRESS`` names; without it, one of this machine alone, which
    ends with the block.

    Raises:
        UsageError: the network without keys, or keys of a server that is still running otherwise.
        StorageError, NotAStoreError: of the store's directory.
    """
    settings = deployed.settings
    prepare(deployed).close()
    with _connected(deployed):
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": settings.host, "port": settings.port},
        )
        serve.run(application(deployed), name=_NAME, route_prefix="/")
        try:
            yield f"http://{settings.host}:{settings.port}"
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def _connected(deployed: Deployed) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if "RAY_ADDRESS" not in os.environ:
        most = deployed.max_replicas or deployed.replicas
        options |= {
            "num_cpus": max(1, math.ceil(most * deployed.cpus)),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
            "_node_ip_address": _HERE,
        }
    ray.init(**options)
    try:
        yield
    finally:
        ray.shutdown()


def run(deployed: Deployed, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; what was acknowledged is written when this returns.

    Args:
        deployed: what is served.
        listening: is told the address, once clients may come.

    Raises:
        UsageError, MemplusError: as ``served``.
    """
    ended = threading.Event()
    with served(deployed) as url:
        for number in (signal.SIGTERM, signal.SIGINT):  # after Ray, which sets its own
            signal.signal(number, lambda *_: ended.set())
        listening(url)
        ended.wait()
