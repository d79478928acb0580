"""MemLLM (2404.11672): triples that one adapter writes and another asks for as it generates."""

from __future__ import annotations

from memplus.systems.memllm.session import MemLLMSession
from memplus.systems.memllm.tools import NAME, MemLLMOptions, Tools
from memplus.systems.triples.system import TripleSystem

__all__ = ["MemLLMSystem"]


class MemLLMSystem(TripleSystem[MemLLMOptions, Tools, MemLLMSession]):
    """One adapter writes, another reads."""

    registered = NAME
    called = "MemLLM"
    options_type = MemLLMOptions
    tools_type = Tools
    sessions = MemLLMSession
    revision = 3  # dashes between digits are stored as they were told
