"""What goes wrong, as clients are told: one body, a status, a stable code, whether to try again.

Messages name no path, and no memory or user of others.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from memplus.errors import (
    BrokenTextError,
    BudgetError,
    ConfigError,
    CorruptMemoryError,
    EmptyTextError,
    HistoryError,
    KeyExistsError,
    MemoryBusyError,
    MemoryExistsError,
    MemoryFileError,
    MemoryMismatchError,
    MemoryVersionError,
    MemplusError,
    NotAnExportError,
    NotFoundError,
    OverloadedError,
    PositionsError,
    ReadOnlyMemoryError,
    ShuttingDownError,
    StorageError,
    UnknownMemoryError,
    UnknownSourceError,
    UsageError,
)

__all__ = ["Fault", "RequestFault", "fault_of"]


@dataclass(frozen=True)
class Fault:
    """An error as it is sent."""

    status: int
    type: str
    message: str
    code: str
    param: str | None = None
    retry_after: float | None = None
    """Seconds after which trying again may help; None: nothing is said."""
    final: bool = False
    """Whether a client that would try again by itself should not."""

    @property
    def body(self) -> dict[str, object]:
        """The body of every failed request."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """Whether and when to try again."""
        found: dict[str, str] = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.final:
            found["x-should-retry"] = "false"
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


class RequestFault(Exception):
    """A request that is refused as its ``fault`` says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault

    @classmethod
    def invalid(cls, message: str, param: str | None = None, code: str = "invalid") -> RequestFault:
        """The request itself is wrong."""
        return cls(Fault(400, "invalid_request_error", message, code, param))

    @classmethod
    def wrong_host(cls) -> RequestFault:
        """The server is called by a name that is none of its own."""
        message = "The server is not called by this name; whoever runs it can allow it."
        return cls.invalid(message, "Host", "host_not_allowed")

    @classmethod
    def reused_key(cls) -> RequestFault:
        """An ``Idempotency-Key`` came with something else before, or with something that is not
        known any more; trying again does not help."""
        message = (
            "This Idempotency-Key came before, with another request or too long ago to compare. "
            "Use a new one."
        )
        fault = Fault(409, "conflict_error", message, "idempotency_key_reused", final=True)
        return cls(fault)

    @classmethod
    def unknown_memory(cls, name: str) -> RequestFault:
        """There is no such memory, or it is another's: nobody can tell which."""
        message = f"There is no memory {name!r}. GET /v1/memories lists those of this key."
        return cls(Fault(404, "not_found_error", message, "memory_not_found"))

    @classmethod
    def unknown(cls, what: str, code: str = "not_found") -> RequestFault:
        """Something that is named is not there."""
        return cls(Fault(404, "not_found_error", f"There is no {what}.", code))

    @classmethod
    def forbidden(cls, message: str) -> RequestFault:
        """The key may not do this."""
        return cls(Fault(403, "permission_error", message, "forbidden"))

    @classmethod
    def unauthenticated(cls, message: str) -> RequestFault:
        """There is no key, or none that is known."""
        return cls(Fault(401, "authentication_error", message, "invalid_api_key"))

    @classmethod
    def unavailable(cls, message: str, code: str, retry_after: float = 5.0) -> RequestFault:
        """Not now: ``loading``, ``draining`` or ``overloaded``."""
        return cls(Fault(503, "unavailable_error", message, code, retry_after=retry_after))


_CORRUPT = (
    "The memory is damaged. Restore it from an export, or write its sources into a new memory."
)
_FULL = "The server's disk is full or refused; nothing was written. Tell whoever runs it."


def fault_of(error: Exception) -> Fault:
    """An error of the library as it is sent; what is not foreseen tells nothing of itself."""
    if isinstance(error, RequestFault):
        return error.fault
    if isinstance(error, OverloadedError):
        seconds = float(str(error.fields.get("retry_after", 5)))
        return RequestFault.unavailable("Too much waits already.", "overloaded", seconds).fault
    if isinstance(error, ShuttingDownError):
        return RequestFault.unavailable("The server is about to stop.", "draining").fault
    if isinstance(error, UnknownMemoryError):
        return RequestFault.unknown_memory(_own_name(error)).fault
    if isinstance(error, MemoryExistsError):
        message = f"There is a memory {_own_name(error)!r} already."
        return Fault(409, "conflict_error", message, "memory_exists", final=True)
    if isinstance(error, KeyExistsError):
        return Fault(409, "conflict_error", error.message, "key_exists", "name", final=True)
    if isinstance(error, MemoryBusyError):
        message = "Another writer holds the memory; nothing was written. Try again."
        return Fault(409, "conflict_error", message, "memory_busy", retry_after=1.0)
    if isinstance(error, MemoryMismatchError):
        message = "Another model, or other weights, wrote this memory; it can only be read by them."
        return Fault(409, "conflict_error", message, "model_mismatch", final=True)
    if isinstance(error, CorruptMemoryError):
        return Fault(422, "invalid_request_error", _CORRUPT, "memory_corrupt", final=True)
    if isinstance(error, MemoryVersionError):
        message = "A later release of memplus wrote this; whoever runs the server has to update it."
        return Fault(409, "conflict_error", message, "memory_version", final=True)
    if isinstance(error, NotAnExportError | MemoryFileError):
        message = "What was sent is not an exported memory of a known version."
        return Fault(400, "invalid_request_error", message, "invalid_export")
    if isinstance(error, StorageError):
        code = error.fields.get("code")
        if code == errno.EAGAIN:
            message = "Others have the store's files for longer than the server waits; try again."
            return RequestFault.unavailable(message, "overloaded", 1.0).fault
        status = 507 if code in (errno.ENOSPC, errno.EDQUOT) else 500
        kind = "storage_error" if status == 507 else "server_error"
        return Fault(status, kind, _FULL, "storage_error")
    if isinstance(error, ReadOnlyMemoryError):
        message = "The memory was closed meanwhile; nothing was written. Try again."
        return Fault(409, "conflict_error", message, "memory_busy", retry_after=1.0)
    if isinstance(error, UsageError) and not isinstance(error, NotFoundError):
        return _usage_fault(error)
    message = "The server failed; what was not acknowledged was not written."
    return Fault(500, "server_error", message, "internal_error")


def _usage_fault(error: MemplusError) -> Fault:
    kind, message = "invalid_request_error", error.message
    codes: dict[type[MemplusError], tuple[int, str]] = {
        BudgetError: (413, "memory_full"),
        PositionsError: (400, "context_length_exceeded"),
        EmptyTextError: (400, "empty_text"),
        BrokenTextError: (400, "broken_text"),
        UnknownSourceError: (404, "source_not_found"),
        HistoryError: (404, "state_not_found"),
        ConfigError: (400, "invalid"),
    }
    for cls, (status, code) in codes.items():
        if isinstance(error, cls):
            kind = "not_found_error" if status == 404 else kind
            param = str(error.fields.get("field")) if isinstance(error, ConfigError) else None
            return Fault(status, kind, message, code, param)
    return Fault(400, kind, message, "invalid")


def _own_name(error: MemplusError) -> str:
    """The name as the tenant knows it."""
    return str(error.fields.get("name", "")).rpartition("/")[2]
