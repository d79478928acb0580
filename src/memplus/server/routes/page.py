"""The page at ``/``: files of the package, sent as they are; whatever it does is a public route."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import Response

from memplus.server.faults import RequestFault

__all__ = ["HEADERS", "router"]

router = APIRouter(include_in_schema=False)

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
    "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types 'none'",
)  # fmt: skip
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(_POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Nothing but the server's own files runs in the page, nothing frames it, and nothing keeps it."""


def _files() -> dict[str, bytes]:
    folder = resources.files("memplus.server") / "page"
    return {
        one.name: one.read_bytes()
        for one in folder.iterdir()
        if one.name.rpartition(".")[2] in _TYPES
    }


_FILES = _files()


@router.get("/")
@router.head("/")
async def page() -> Response:
    """The page."""
    return _sent("index.html")


@router.get("/page/{name}")
async def file(name: str) -> Response:
    """Its style, its script, its icon."""
    if name not in _FILES:
        raise RequestFault.unknown("file of that name", "unknown_path")
    return _sent(name)


def _sent(name: str) -> Response:
    kind = _TYPES[name.rpartition(".")[2]]
    return Response(_FILES[name], media_type=kind, headers=HEADERS)
