"""For whoever runs the server: alive, ready, which version. No key, no work."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

import memplus
from memplus.server.asking import Served
from memplus.server.metrics import CONTENT_TYPE

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/health")
@router.head("/health", include_in_schema=False)
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@router.get("/ready")
@router.head("/ready", include_in_schema=False)
async def ready(services: Served) -> JSONResponse:
    """200 with the model loaded and the store writable; 503 with the reason otherwise."""
    state = services.state
    if state == "ready" and not services.writable():
        state = "failed"
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


@router.get("/version")
@router.head("/version", include_in_schema=False)
async def version(services: Served) -> dict[str, str]:
    """Of the server and its model."""
    return {"version": memplus.__version__, "model": services.model_name}


@router.get("/metrics")
def metrics(services: Served) -> Response:
    """Figures for Prometheus; no memory, user or key is in them."""
    return Response(services.metrics.text(), media_type=CONTENT_TYPE)
