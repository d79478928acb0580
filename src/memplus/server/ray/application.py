"""What Ray Serve starts: how many of what, with its own settings for bounds, health, draining."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ray import serve
from ray.exceptions import RayError
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message

from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
from memplus.server.keys import Keys
from memplus.server.origins import with_origins
from memplus.server.ray.carried import CarriedRequest
from memplus.server.ray.deployment import Deployed, deployed_from
from memplus.server.ray.destinations import Destinations
from memplus.server.ray.figures import joined
from memplus.server.ray.ingress import Forwarding, Unreachable
from memplus.server.ray.replica import Replica
from memplus.server.ray.tally import SharedTally
from memplus.server.recent import RecentRequest
from memplus.server.services import require_keys
from memplus.server.settings import ServerSettings
from memplus.server.tally import Tally
from memplus.store import Lease, MemoryStore

__all__ = ["IngressDeployment", "ReplicaDeployment", "application", "build", "prepare"]

_FIGURES_SECONDS = 5.0
_TALLY_SECONDS = 1.0
_TALLY_REQUESTS = 10_000
_ROUTER: dict[str, Any] = {
    "request_router_class": "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter",
    "request_router_kwargs": {"num_fallback_replicas": 0},
}
"""A memory's requests wait for its replica, however busy that is, rather than go to another."""


class ReplicaDeployment:
    """A replica as Ray Serve runs it; see ``Replica``."""

    async def __init__(  # type: ignore[misc]
        self, deployed: Deployed, tally: DeploymentHandle[Any]
    ) -> None:
        name = serve.get_replica_context().replica_id.unique_id
        owner = f"{socket.gethostname()}-{os.getpid()}-{name}"
        self._replica = Replica(deployed, owner, _shared(tally, deployed.settings))
        await self._replica.start()

    async def answer(self, request: CarriedRequest) -> AsyncGenerator[Message | None, None]:
        """See ``Replica.answer``."""
        async with aclosing(self._replica.answer(request)) as messages:
            async for message in messages:
                yield message

    async def figures(self) -> tuple[str, str]:
        """Its name, and what it tells Prometheus."""
        return self._replica.owner, self._replica.services.metrics.text().decode()

    async def check_health(self) -> None:
        """See ``Replica.check_health``; Ray Serve calls this again and again."""
        await self._replica.check_health()

    async def __del__(self) -> None:
        """Ray Serve calls this when no request runs any more."""
        await self._replica.stop()


@serve.ingress()
class IngressDeployment:
    """What stands in front, as Ray Serve runs it; see ``Forwarding``."""

    def __init__(
        self, replicas: DeploymentHandle[Any], tally: DeploymentHandle[Any], deployed: Deployed
    ) -> None:
        self._replicas = replicas
        self._deployed = deployed
        self._destinations = Destinations(prepare(deployed), deployed.settings)
        self._tally = _shared(tally, deployed.settings)

    def __serve_build_asgi_app__(self) -> Starlette:
        settings = self._deployed.settings
        forwarding = Forwarding(
            self._hand,
            self._destinations.session,
            self._figures,
            self._missed,
            body_bytes=settings.body_bytes,
            wait_seconds=settings.wait_seconds,
        )
        return Starlette(routes=[Mount("/", with_origins(forwarding, settings))])

    async def _hand(
        self, request: CarriedRequest, session: str
    ) -> AsyncGenerator[Message | None, None]:
        handle = self._replicas.options(stream=True, session_id=session)
        answer = cast("DeploymentResponseGenerator[Message | None]", handle.answer.remote(request))
        try:
            async for message in answer:
                yield message
        except BackPressureError as error:
            raise Unreachable(full=True) from error
        except (RayError, RayServeException) as error:
            raise Unreachable(full=False) from error
        finally:
            answer.cancel()  # type: ignore[no-untyped-call]

    def _missed(self, request: CarriedRequest, kept: RecentRequest) -> None:
        who = self._destinations.holder(request)
        if who is not None:
            self._tally.answered(who, 0, replace(kept, key=who.key))

    async def _figures(self) -> bytes:
        asked = self._replicas.broadcast("figures")
        told = await asked.results_async(timeout_s=_FIGURES_SECONDS, return_exceptions=True)
        return joined(dict(one for one in told if isinstance(one, tuple)))


def _shared(tally: DeploymentHandle[Any], settings: ServerSettings) -> SharedTally:
    """The tally of the deployment; where Ray does not bring an answer soon, there is none."""

    def ask(method: str, *given: object) -> Any:
        try:
            return getattr(tally, method).remote(*given).result(timeout_s=_TALLY_SECONDS)
        except (RayError, RayServeException, TimeoutError) as error:
            raise Unreachable(full=False) from error

    def tell(method: str, *given: object) -> None:
        try:
            getattr(tally, method).remote(*given)
        except (RayError, RayServeException) as error:
            raise Unreachable(full=False) from error

    return SharedTally(settings, ask, tell)


def prepare(deployed: Deployed) -> ServerDatabase:
    """The store's directory, made where it is missing, and what is kept beside the memories there.

    Raises:
        UsageError: it would be served to the network without keys, or a server that does not share
            the directory has it open.
        StorageError, NotAStoreError, CorruptMemoryError, MemoryVersionError.
    """
    MemoryStore(deployed.store, lease=Lease())  # servers of this directory hold leases from now on
    database = ServerDatabase(Path(deployed.store), SCHEMA)
    try:
        require_keys(deployed.settings, Keys(database))
    except BaseException:
        database.close()
        raise
    return database


def application(deployed: Deployed) -> Application:
    """The processes of a server, to be given to ``serve.run``."""
    settings = deployed.settings
    most = deployed.max_replicas or deployed.replicas
    replicas = cast("Deployment", serve.deployment(ReplicaDeployment)).options(
        name="replica",
        max_ongoing_requests=settings.requests,
        max_queued_requests=settings.requests,
        autoscaling_config=AutoscalingConfig(
            min_replicas=deployed.replicas,
            max_replicas=most,
            target_ongoing_requests=deployed.ongoing,
            upscale_delay_s=deployed.upscale_seconds,
            downscale_delay_s=deployed.downscale_seconds,
        ),
        ray_actor_options={"num_cpus": deployed.cpus, "num_gpus": deployed.gpus},
        request_router_config=RequestRouterConfig(**_ROUTER),
        health_check_period_s=5.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=2 * settings.shutdown_seconds + 10.0,
    )
    ingress = cast("Deployment", serve.deployment(IngressDeployment)).options(
        name="ingress",
        num_replicas=deployed.ingresses,
        max_ongoing_requests=most * settings.requests,
        ray_actor_options={"num_cpus": 0.0},
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.shutdown_seconds + 10.0,
    )
    tally = cast("Deployment", serve.deployment(Tally)).options(
        name="tally",
        num_replicas=1,  # a key's minute is one
        max_ongoing_requests=_TALLY_REQUESTS,
        ray_actor_options={"num_cpus": 0.0},
    )
    counting = tally.bind(settings)
    return ingress.bind(replicas.bind(deployed, counting), counting, deployed)


def build(values: dict[str, Any]) -> Application:
    """The same from a file of Ray Serve's, as ``import_path: memplus.server.ray.application:build``
    with ``args``; where that says no ``host``, the server is meant for the network.

    Raises:
        ConfigError: see ``deployed_from``.
        UsageError, StorageError, NotAStoreError: see ``prepare``.
    """
    settings = {"host": "0.0.0.0", **values.get("settings", {})}
    deployed = deployed_from({**values, "settings": settings})
    prepare(deployed).close()
    return application(deployed)
