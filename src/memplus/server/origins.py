"""Which pages of other servers may call from a browser, and what of an answer they may read."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from memplus.server.settings import ServerSettings

__all__ = ["with_origins"]

_READ = (
    "x-request-id", "Retry-After", "x-should-retry",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
)  # fmt: skip
"""What a browser would hide from such a page otherwise."""


def with_origins(app: ASGIApp, settings: ServerSettings) -> ASGIApp:
    """The application for the pages of ``settings.allowed_origins`` too; as it is without them.

    It has to stand around whatever refuses requests: of an answer that does not name its origin a
    page learns nothing, not even that it was refused, or when to come again.
    """
    if not settings.allowed_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(settings.allowed_origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_READ,
    )
