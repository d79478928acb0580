"""Who asks, from a request's headers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.services import Services

__all__ = ["Served", "Who", "principal", "served"]

_BEARER = HTTPBearer(auto_error=False, description="A key of `memplus keys add`.")


def served(request: Request) -> Services:
    """The services of the application that the request came to."""
    services: Services = request.app.state.services
    return services


def principal(
    request: Request,
    services: Annotated[Services, Depends(served)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Principal:
    """The holder of the request's key; where no key was ever made, whoever is on this machine.

    Raises:
        RequestFault: no key, or none that is known.
    """
    if given is not None and given.credentials:
        found = services.keys.holder(given.credentials)
        if found is not None:
            return found
    if not services.keys:
        return Principal()
    message = "Send a key as `Authorization: Bearer KEY`; whoever runs the server makes them."
    raise RequestFault.unauthenticated(message)


Served = Annotated[Services, Depends(served)]
Who = Annotated[Principal, Depends(principal)]
