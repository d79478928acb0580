"""Every bound of a server, with its default."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from memplus.errors import ConfigError

__all__ = ["ServerSettings"]

_SHORTEST_SECRET = 32


@dataclass(frozen=True)
class ServerSettings:
    """What a server allows. Past a bound a request is refused at once; no queue grows.

    Raises:
        ConfigError: a value that a field cannot have.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    body_bytes: int = 8 << 20
    """Most bytes of a request."""
    body_values: int = 100_000
    """Most values of its JSON, each text, number, list and object counted; 0: any number."""
    body_seconds: float = 30.0
    """Longest silence of a client in the middle of its request; 0: any."""
    least_rate: int = 4096
    """Bytes a second that a body has to keep to once it has taken ``body_seconds``; 0: any."""
    head_seconds: float = 30.0
    """Longest time for the first line and the headers of a request; 0: any."""
    send_seconds: float = 120.0
    """Longest time in which a client may take nothing of an answer that waits for it; 0: any. The
    system has buffers of its own, of some megabytes, so a slow one takes much at a time."""
    requests: int = 256
    """Most requests in flight. A key gets no more while it holds as many as are left."""
    keyless_requests: int = 32
    """Most requests in flight without a known key, where keys are needed; apart from the others."""
    wait_seconds: float = 30.0
    """Longest wait for a memory that another writer holds, or whose writes are not done."""
    requests_per_minute: int = 600
    """Of one key; 0: any number."""
    tokens_per_minute: int = 0
    """Read, generated and written, of one key; 0: any number."""
    memories_per_tenant: int = 10_000
    memory_bytes: int = 4 << 30
    """Most bytes of one memory; 0: any number."""
    open_memories: int = 64
    """Most memories whose rows are in RAM; the least recently used are closed."""
    idle_seconds: float = 30.0
    """After so long without use a memory is closed, so that other programs may write to it."""
    stored_responses: int = 1_000
    """Of one tenant; the oldest go."""
    stored_bytes: int = 64 << 20
    """Of one tenant, of stored responses, of items of conversations and of answers to repeated
    requests, each; the oldest go. 0: any number."""
    response_days: float = 30.0
    """Stored responses and conversations that are older go."""
    recent_requests: int = 200
    """So many of a tenant are listed by their ids."""
    import_bytes: int = 4 << 30
    """Most bytes of a memory that is imported."""
    known_turns: int = 1_000_000
    """Of one tenant, turns that are known to be written; those seen longest ago go."""
    known_turn_days: float = 365.0
    """A turn that no client has sent for so long would be written again."""
    window_tokens: int = 1024
    """Of a chat's earlier turns that its memory holds, so many are also read as text."""
    answer_tokens: int = 256
    """Longest answer where a request does not say."""
    gateway_secret: str = field(default="", repr=False)
    """What gateways sign the users with whom they name; empty: their plain headers are believed."""
    ping_seconds: float = 15.0
    """Longest silence of a stream."""
    search_and_fetch: bool = False
    """Whether MCP clients that know only two tools, ``search`` and ``fetch``, get these as well."""
    shutdown_seconds: float = 30.0
    """How long running requests may take after SIGTERM."""
    write_replies: bool = False
    """Whether a chat writes the model's own turns, too."""
    traces: bool = False
    """Whether requests are spans of OpenTelemetry."""
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Names under which the server may be called; ``*``: any."""
    allowed_origins: tuple[str, ...] = ()
    """Pages of other servers that may call it from a browser (CORS)."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
                raise ConfigError(one.name, value=value, reason="it must not be below 0")
        if 0 < len(self.gateway_secret) < _SHORTEST_SECRET:
            reason = f"it must have at least {_SHORTEST_SECRET} characters"
            raise ConfigError("gateway_secret", value="...", reason=reason)
        if not 0 <= self.port < 1 << 16:
            raise ConfigError("port", value=self.port, reason="it must be in 0 to 65535")
