"""Base of the systems that keep triples: a model, its trained adapters, sessions over a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from memplus.errors.model import in_order
from memplus.systems.shared import Part, Shared, SharedSystem
from memplus.systems.triples.session import TripleSession
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.tools import TripleOptions, TripleTools

__all__ = ["TripleSystem"]

Options = TypeVar("Options", bound=TripleOptions)
Tools = TypeVar("Tools", bound=TripleTools[Any])
Made = TypeVar("Made", bound=TripleSession[Any, Any])


class TripleSystem(SharedSystem[Options], Generic[Options, Tools, Made]):
    """A model that writes triples and reads them.

    Args:
        shared: the model.
        options: how.

    Raises:
        SystemWeightsError: the adapters are not there.
    """

    tools_type: type[Tools]
    sessions: type[Made]
    chunk_tokens = 1

    def __init__(self, shared: Shared, options: Options | None = None) -> None:
        super().__init__(shared, options)
        self.tools: Tools = self.tools_type(shared, self.options)

    @classmethod
    def missing(cls) -> str:
        """See ``SharedSystem.missing``."""
        shipped = cls.tools_type.adapters_for(cls.options_type())
        absent = shipped.missing
        return f"{absent}; it is made by {in_order(shipped.makes)}" if absent else ""

    @property
    def remembers(self) -> bool:
        """See ``System.remembers``."""
        return self.options.memory == "on"

    @property
    def part(self) -> Part:
        """See ``SharedSystem.part``: its own weights stand on the plain base."""
        return "base"

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``: the adapters' bytes belong to it."""
        digest = self.tools.adapters.digest
        return {**super().identity, **({"weights": digest} if digest else {})}

    def open(self, seed: int) -> Made:
        """See ``System.open``; nothing is drawn at random.

        Raises:
            SystemWeightsError: an adapter belongs to another model, or is damaged.
        """
        self.tools.load()
        return self.sessions(self, self.tools, TripleTable(self.tools.embed))

    def load(self, path: Path) -> Made:
        """See ``Loads.load``."""
        return self.sessions.of_file(self, self.tools, path)
