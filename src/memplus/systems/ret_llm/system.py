"""RET-LLM (2305.14322): a table of triples that a tuned model writes to and reads by calls."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from memplus.mplus.adapter_folder import ADAPTER
from memplus.systems.protocol import Session
from memplus.systems.ret_llm.session import RetLLMSession, load_ret_llm
from memplus.systems.ret_llm.tools import MAKES, NAME, SHIPPED, RetLLMOptions, Tools, missing_file
from memplus.systems.shared import Shared, SharedSystem
from memplus.systems.triples.table import TripleTable

__all__ = ["RetLLMSystem"]


class RetLLMSystem(SharedSystem[RetLLMOptions]):
    """A model that writes and reads triples.

    Args:
        shared: the model.
        options: how.

    Raises:
        SystemWeightsError: the folder of the weights is not there.
    """

    registered = NAME
    called = "RET-LLM"
    options_type = RetLLMOptions
    sessions: type[Session] = RetLLMSession
    chunk_tokens = 1

    def __init__(self, shared: Shared, options: RetLLMOptions | None = None) -> None:
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
        """See ``System.identity``: the adapter's bytes belong to it."""
        if self.tools.folder is None:
            return super().identity
        digest = sha256((self.tools.folder / ADAPTER).read_bytes()).hexdigest()
        return {**super().identity, "weights": digest}

    def open(self, seed: int) -> RetLLMSession:
        """See ``System.open``.

        Raises:
            SystemWeightsError: the weights belong to another model, or are damaged.
        """
        assert self.tools.controller  # loads the weights before anything is told
        return RetLLMSession(self, self.tools, TripleTable(self.tools.embed))

    def load(self, path: Path) -> RetLLMSession:
        """See ``Loads.load``."""
        return load_ret_llm(self, self.tools, path)
