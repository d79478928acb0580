"""The official client of the Model Context Protocol, over HTTP and over a program's streams."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from tests.warm import python

__all__ = ["call", "over_http", "over_stdio", "refusal"]


@asynccontextmanager
async def over_http(
    url: str, key: str = "", *, mode: str = "auto", memory: str = ""
) -> AsyncIterator[Client]:
    """A client of a server; ``memory``: named in the header."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= {"X-Memory-Id": memory} if memory else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@asynccontextmanager
async def over_stdio(
    store: Path, *flags: str, mode: str = "auto", model: str = "nano"
) -> AsyncIterator[Client]:
    """A client of ``memplus mcp``."""
    command = ["-m", "memplus.cli.main", "mcp", "--store", str(store), "--model", model, *flags]
    program, *before = python()
    asked = StdioServerParameters(command=program, args=[*before, *command], env=dict(os.environ))
    async with Client(stdio_client(asked), mode=mode) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gives."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """What a tool says went wrong."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    (only,) = result.content
    assert isinstance(only, TextContent)
    return only.text
