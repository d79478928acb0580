"""What is deployed: of which model and store, how many processes, within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from pydantic import TypeAdapter, ValidationError

from memplus.errors import ConfigError
from memplus.server.settings import ServerSettings

__all__ = ["Deployed", "deployed_from"]


@dataclass(frozen=True)
class Deployed:
    """A server on several machines.

    Raises:
        ConfigError: a value that a field cannot have.
    """

    model: str
    """Name or directory of the model; every machine has it."""
    store: str
    """The memories' directory; every machine sees the same one under this path."""
    device: str = "cpu"
    dtype: str | None = None
    ram: int | None = None
    """Bytes that an open memory's rows may take in memory."""
    replicas: int = 1
    """Least number of processes with a model."""
    max_replicas: int = 0
    """Most of them; 0: as many as ``replicas``."""
    ingresses: int = 1
    """Processes that take requests and hand them on."""
    cpus: float = 1.0
    """Processors that Ray reserves for a replica; as many threads run its model."""
    gpus: float = 0.0
    """GPUs that Ray reserves for a replica."""
    ongoing: float = 8.0
    """Requests at once in a replica, above which there will be more replicas."""
    upscale_seconds: float = 30.0
    """So long there is more to do before there will be more replicas."""
    downscale_seconds: float = 600.0
    """So long there is less to do before there will be fewer replicas."""
    lease_seconds: float = 10.0
    """A replica that was not heard of for so long and ``lease_margin`` loses its memories."""
    lease_margin: float = 5.0
    settings: ServerSettings = field(default_factory=ServerSettings)

    def __post_init__(self) -> None:
        for name in ("replicas", "ingresses"):
            if getattr(self, name) < 1:
                reason = "it must be at least 1"
                raise ConfigError(name, value=getattr(self, name), reason=reason)
        if self.max_replicas and self.max_replicas < self.replicas:
            reason = f"it must be at least the {self.replicas} replicas that always run"
            raise ConfigError("max_replicas", value=self.max_replicas, reason=reason)
        for name in ("cpus", "ongoing"):
            if getattr(self, name) <= 0:
                reason = "it must be above 0"
                raise ConfigError(name, value=getattr(self, name), reason=reason)


def deployed_from(values: Mapping[str, object]) -> Deployed:
    """What a file says, with the fields' own names; ``settings`` holds those of the server.

    Raises:
        ConfigError: a name that there is not, or a value that it cannot have.
    """
    within = values.get("settings", {})
    known = {"": Deployed, "settings.": ServerSettings}
    for prefix, given in ("", values), ("settings.", within if isinstance(within, Mapping) else {}):
        unknown = sorted(set(given) - {one.name for one in fields(known[prefix])})
        if unknown:
            names = ", ".join(one.name for one in fields(known[prefix]))
            reason = f"there is no such setting; there are {names}"
            raise ConfigError(prefix + unknown[0], value=given[unknown[0]], reason=reason)
    try:
        return TypeAdapter(Deployed).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(name, value=first["input"], reason=first["msg"]) from error
