"""The models that clients may name: the one that is served, and, where asked, its memories."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from memplus.server.asking import Served, Who
from memplus.server.faults import RequestFault
from memplus.server.services import Services

__all__ = ["router"]

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
@router.get("/", include_in_schema=False)  # which would be a model without a name
async def models(services: Served, who: Who, *, memories: bool = False) -> dict[str, Any]:
    """All of them; with ``memories=true`` also ``MODEL@MEMORY`` for each memory of the key."""
    names = [services.model_name]
    if memories:
        names += [f"{names[0]}@{one.name}" for one in await services.vault.listed(who)]
    return {"object": "list", "data": [_described(services, name) for name in names]}


@router.get("/{name:path}")
async def model(name: str, services: Served, who: Who) -> dict[str, Any]:
    """One of them."""
    served, _, memory = name.partition("@")
    if served != services.model_name or (memory and not await services.vault.exists(who, memory)):
        raise RequestFault.unknown("model of that name", "model_not_found")
    return _described(services, name)


def _described(services: Services, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(services.begun), "owned_by": "memplus"}
