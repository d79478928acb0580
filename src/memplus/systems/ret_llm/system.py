"""RET-LLM (2305.14322): a table of triples that a tuned model writes to and reads by calls."""

from __future__ import annotations

from memplus.systems.ret_llm.session import RetLLMSession
from memplus.systems.ret_llm.tools import NAME, RetLLMOptions, Tools
from memplus.systems.triples.system import TripleSystem

__all__ = ["RetLLMSystem"]


class RetLLMSystem(TripleSystem[RetLLMOptions, Tools, RetLLMSession]):
    """One adapter writes and reads."""

    registered = NAME
    called = "RET-LLM"
    options_type = RetLLMOptions
    tools_type = Tools
    sessions = RetLLMSession
    revision = 4  # newest by last writing, answers end before calls and within their tokens
