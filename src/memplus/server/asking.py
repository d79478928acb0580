"""Who asks, from a request's headers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from memplus.server.bounds import LIMITS, PRINCIPAL
from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.services import Services

__all__ = ["Served", "Who", "admitted", "holder", "principal", "served"]

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
    """The holder of the request's key, who has not had his share of this minute; see ``holder``.

    Raises:
        RequestFault: no key, none that is known, or too many requests of it.
    """
    return admitted(request.scope, services, "" if given is None else given.credentials)


def admitted(scope: Scope, services: Services, key: str) -> Principal:
    """Whose request it is, noted in its scope for the end of it; raises as ``principal``."""
    who = scope[PRINCIPAL] = holder(services, key)
    admission = services.tally.admit(who)
    scope[LIMITS] = admission.headers
    if admission.refusal is not None:
        raise RequestFault(admission.refusal)
    return who


def holder(services: Services, key: str) -> Principal:
    """The holder of a key; where no key was ever made, whoever is on this machine.

    Raises:
        RequestFault: no key, or none that is known.
    """
    if key:
        found = services.keys.holder(key)
        if found is not None:
            return found
    if not services.keys:
        return Principal()
    if key:
        message = "The server has no such key, or it was revoked; whoever runs it makes new ones."
    else:
        message = "Send a key as `Authorization: Bearer KEY`; whoever runs the server makes them."
    raise RequestFault.unauthenticated(message)


Served = Annotated[Services, Depends(served)]
Who = Annotated[Principal, Depends(principal)]
