"""Under which names the server may be called; a refusal has the shape of every other one."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memplus.server.bounds import CODE
from memplus.server.faults import RequestFault

__all__ = ["HostsMiddleware"]


class HostsMiddleware:
    """Refuses requests whose ``Host`` is none of the server's names.

    Args:
        app: is called by its names alone.
        allowed_hosts: the names; ``*``: any.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self.app = app
        self._checked = TrustedHostMiddleware(_pass, list(allowed_hosts), www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        refusal: list[Message] = []

        async def note(message: Message) -> None:
            refusal.append(message)

        await self._checked(scope, receive, note)
        if not refusal:
            await self.app(scope, receive, send)
            return
        fault = RequestFault.wrong_host().fault
        scope[CODE] = fault.code
        await JSONResponse(fault.body, fault.status)(scope, receive, send)


async def _pass(scope: Scope, receive: Receive, send: Send) -> None:
    """The name is one of the server's."""
