"""MemLLM (2404.11672): triples that one adapter writes and another asks for as it generates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memplus.systems.memllm.session import MemLLMSession, load_memllm
from memplus.systems.memllm.tools import MAKES, NAME, SHIPPED, MemLLMOptions, Tools, missing_file
from memplus.systems.protocol import Session
from memplus.systems.shared import Shared, SharedSystem
from memplus.systems.triples.table import TripleTable

__all__ = ["MemLLMSystem"]


class MemLLMSystem(SharedSystem[MemLLMOptions]):
    """A model that writes triples and reads them.

    Args:
        shared: the model.
        options: how.

    Raises:
        SystemWeightsError: the folder of the weights is not there.
    """

    registered = NAME
    called = "MemLLM"
    options_type = MemLLMOptions
    sessions: type[Session] = MemLLMSession
    chunk_tokens = 1

    def __init__(self, shared: Shared, options: MemLLMOptions | None = None) -> None:
        super().__init__(shared, options)
        self.tools = Tools(shared, self.options)

    @classmethod
    def missing(cls) -> str:
        """See ``SharedSystem.missing``."""
        absent = missing_file(SHIPPED)
        return f"{absent} is not there; `{MAKES}` makes it" if absent else ""

    @property
    def remembers(self) -> bool:
        """See ``System.remembers``."""
        return self.options.memory == "on"

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``: the adapters' bytes belong to it."""
        return {**super().identity, "weights": self.tools.digest}

    def open(self, seed: int) -> MemLLMSession:
        """See ``System.open``; nothing is drawn at random.

        Raises:
            SystemWeightsError: the weights belong to another model, or are damaged.
        """
        self.tools.load()
        return MemLLMSession(self, self.tools, TripleTable(self.tools.embed))

    def load(self, path: Path) -> MemLLMSession:
        """See ``Loads.load``."""
        return load_memllm(self, self.tools, path)
