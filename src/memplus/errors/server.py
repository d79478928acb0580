"""Errors of the server: a name that is taken, too much at once, an end, a pass that failed."""

from __future__ import annotations

from memplus.errors.base import MemplusError, UsageError

__all__ = ["KeyExistsError", "OverloadedError", "PassFailedError", "ShuttingDownError"]


class KeyExistsError(UsageError):
    """The tenant has a key of that name already, which is not revoked."""

    template = "There is already a key named {name!r}."
    hint = "Revoke it first, or choose another name."

    def __init__(self, name: str) -> None:
        self._fill(name=name)


class OverloadedError(MemplusError):
    """More was asked for than the server holds or does at a time; nothing was done."""

    template = "The server is busy: {reason}. Try again in about {retry_after} seconds."
    hint = "Send fewer requests at a time, or raise the server's limits."

    def __init__(self, *, reason: str, retry_after: int) -> None:
        self._fill(reason=reason, retry_after=retry_after)


class ShuttingDownError(MemplusError):
    """The server takes no new work, and what it had not done by its end is left undone."""

    template = "The server is shutting down."
    hint = "Ask again when it is back."

    def __init__(self) -> None:
        self._fill()


class PassFailedError(MemplusError):
    """The model failed at work on this request; the server goes on."""

    template = "The model failed while it worked on this request: {reason}."
    hint = "Try again, with a shorter prompt if memory ran out; `memplus doctor` checks the model."

    def __init__(self, *, reason: str) -> None:
        self._fill(reason=reason)
