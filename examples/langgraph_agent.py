"""A LangGraph agent with a memory that outlives it: it remembers statements and answers questions.

The memory is reached over MCP, so the graph knows nothing of memplus but the names of two tools. In
an agent of your own, `recall` stands before the node that calls the language model, which gets what
was recalled in its prompt; here the memory itself replies, so that nothing else is needed.

    pip install -c constraints.txt ".[server]" langgraph    # in the clone
    memplus serve --model nano --store memories
    python examples/langgraph_agent.py "Marta Velez's locker code is 4821."
    python examples/langgraph_agent.py "What is Marta Velez's locker code?"

Where the server has keys, put one into ``MEMPLUS_KEY``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

import httpx2
from langgraph.graph import END, START, StateGraph
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

Tool = Callable[..., Awaitable[dict[str, Any]]]


class Turn(TypedDict, total=False):
    """What one turn of the agent knows."""

    said: str
    reply: str
    evidence: list[str]


def graph(tool: Tool) -> Any:
    """The agent: what is said is recalled from the memory, or goes into it."""

    async def recall(turn: Turn) -> Turn:
        found = await tool("ask_memory", question=turn["said"])
        evidence = [one["text"] for one in found["evidence"]]
        return {"reply": found["answer"], "evidence": evidence}

    async def remember(turn: Turn) -> Turn:
        await tool("add_memory", text=turn["said"], source="agent")
        return {"reply": "I will remember that."}

    def kind(turn: Turn) -> str:
        return "recall" if turn["said"].rstrip().endswith("?") else "remember"

    agent = StateGraph(Turn)
    agent.add_node("recall", recall)
    agent.add_node("remember", remember)
    agent.add_conditional_edges(START, kind)
    agent.add_edge("recall", END)
    agent.add_edge("remember", END)
    return agent.compile()


async def run(url: str, key: str, memory: str, said: list[str]) -> list[Turn]:
    """Say some things to the agent, one after the other."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):

        async def tool(name: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(name, {"memory": memory, **arguments})
            if result.is_error:
                raise RuntimeError(result.content[0].text)
            return dict(result.structured_content)

        agent = graph(tool)
        return [await agent.ainvoke({"said": one}) for one in said]


def main() -> None:
    """Say what stands on the command line."""
    parser = argparse.ArgumentParser(description="An agent with a long memory.")
    parser.add_argument("said", nargs="+", help="statements, and questions that end in ?")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--memory", default="agent")
    given = parser.parse_args()
    key = os.environ.get("MEMPLUS_KEY", "")
    for turn in asyncio.run(run(given.url, key, given.memory, given.said)):
        print(turn["reply"])


if __name__ == "__main__":
    main()
