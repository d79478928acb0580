"""What the sessions of one RET-LLM share: options, adapter, controller, look-up and vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from memplus.backbone.lora import Lora
from memplus.config import require
from memplus.systems.ret_llm.controller import Controller
from memplus.systems.ret_llm.grammar import Query
from memplus.systems.ret_llm.lookups import SIMILARITY, Found, LookUp
from memplus.systems.shared import Shared
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.tools import TripleOptions, TripleTools

__all__ = ["NAME", "UNTUNED", "RetLLMOptions", "Tools"]

NAME = "ret_llm"
UNTUNED = "none"
_FEWEST = 64
"""Most tokens of an answer, at least: several rows take more than one value does."""


@dataclass(frozen=True)
class RetLLMOptions(TripleOptions):
    """How triples are kept and found."""

    weights: str = ""
    """Folder of the trained adapter instead of the one that comes with memplus; ``none``: the plain
    decoder, prompted with worked examples."""
    near: Literal["on", "off"] = "on"
    """``off``: only exact matches are found."""
    similarity: float = SIMILARITY
    """Cosine that a stored text needs to stand for one that is not stored."""
    rows: int = 30
    """Most rows of a result; the newest are shown."""
    update: Literal["add", "replace"] = "add"
    """``replace``: a new value of a relation with one value takes the older one away."""
    one_value: tuple[str, ...] = ()
    """Relations of which a subject has one at a time, for ``replace``; none named: all are so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.similarity <= 1, "similarity", self.similarity, "it is in (0, 1]")
        require(self.rows >= 1, "rows", self.rows, "at least 1")
        require(
            self.update == "replace" or not self.one_value,
            "one_value", self.one_value, "it belongs to update=replace",
        )  # fmt: skip


class Tools(TripleTools[RetLLMOptions]):
    """See ``TripleTools``: one adapter and the controller under it."""

    system = NAME
    makes = ("memplus train --config configs/ret_llm/train.yaml",)
    vector_layers = 2

    def __init__(self, shared: Shared, options: RetLLMOptions) -> None:
        super().__init__(shared, options)
        self._look_up = LookUp(options.similarity, near=options.near == "on")

    @classmethod
    def parts(cls, options: RetLLMOptions) -> tuple[str, ...]:
        """See ``TripleTools.parts``: the folder itself holds the adapter, if there is one."""
        return () if options.weights == UNTUNED else ("",)

    def load(self) -> None:
        """See ``TripleTools.load``."""
        assert self.controller

    @property
    def answer_tokens(self) -> int:
        """Most tokens of an answer."""
        return max(_FEWEST, self.shared.mplus.prompt.max_new_tokens)

    @cached_property
    def lora(self) -> Lora | None:
        """What the model was tuned by.

        Raises:
            SystemWeightsError: it was trained on another model, or is damaged.
        """
        return self.adapters.load(self.shared.mplus) if self.adapters.parts else None

    @cached_property
    def controller(self) -> Controller:
        """What carries out the model's calls.

        Raises:
            SystemWeightsError: see ``lora``.
        """
        return Controller(self.core, self.lora, self.options.rows)

    def look_up(self, table: TripleTable, query: Query) -> Found:
        """What a table holds for a query."""
        return self._look_up(table, query)

    def has_one_value(self, relation: str) -> bool:
        """Whether a new value of a relation takes the place of the older one."""
        named = self.options.one_value
        return self.options.update == "replace" and (not named or relation in named)
