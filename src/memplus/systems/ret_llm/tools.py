"""What the sessions of one RET-LLM share: options, adapter, controller, look-up and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from torch import Tensor

from memplus.backbone.lora import Lora
from memplus.config import require
from memplus.errors import ModelError, SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER, RECORD, base_digest, load_adapter
from memplus.mplus.core import Core
from memplus.systems.ret_llm.controller import Controller
from memplus.systems.ret_llm.grammar import Query
from memplus.systems.ret_llm.lookups import SIMILARITY, Found, LookUp
from memplus.systems.shared import Shared
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.vectors import PhraseVectors

__all__ = ["MAKES", "NAME", "SHIPPED", "UNTUNED", "RetLLMOptions", "Tools", "missing_file"]

NAME = "ret_llm"
UNTUNED = "none"
SHIPPED = Path(__file__).parents[2] / "assets" / "systems" / NAME
"""Where the weights lie that come with memplus."""
MAKES = "memplus train --config configs/ret_llm/train.yaml"
"""What makes the weights."""
_FEWEST = 64
"""Most tokens of an answer, at least: several rows take more than one value does."""


@dataclass(frozen=True)
class RetLLMOptions:
    """How triples are kept and found."""

    weights: str = ""
    """Folder of the trained adapter instead of the one that comes with memplus; ``none``: the plain
    decoder, prompted with worked examples."""
    memory: Literal["on", "off"] = "on"
    """``off``: every query finds nothing."""
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
        require(0 < self.similarity <= 1, "similarity", self.similarity, "it is in (0, 1]")
        require(self.rows >= 1, "rows", self.rows, "at least 1")
        require(
            self.update == "replace" or not self.one_value,
            "one_value", self.one_value, "it belongs to update=replace",
        )  # fmt: skip


def missing_file(folder: Path) -> str:
    """The first file of an adapter that a folder lacks, by its path; empty: none."""
    return next((str(folder / n) for n in (RECORD, ADAPTER) if not (folder / n).is_file()), "")


class Tools:
    """What is loaded once.

    Args:
        shared: the model.
        options: of the system.

    Raises:
        SystemWeightsError: the folder of the weights is not there.
    """

    def __init__(self, shared: Shared, options: RetLLMOptions) -> None:
        self.shared = shared
        self.options = options
        given = options.weights
        self.folder = None if given == UNTUNED else Path(given) if given else SHIPPED
        """Of the adapter; None: there is none."""
        absent = "" if self.folder is None else missing_file(self.folder)
        if absent:
            reason = f"{absent} is not there"
            raise SystemWeightsError(NAME, reason=reason, command=MAKES)
        self._look_up = LookUp(options.similarity, near=options.near == "on")

    @property
    def core(self) -> Core:
        """The model."""
        return self.shared.mplus.core

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
        if self.folder is None:
            return None
        model, digest = self.shared.mplus, None
        try:
            if model.origin is not None:
                digest = base_digest(model.origin, self.core.backbone)
            return load_adapter(self.folder, self.core.backbone, digest)
        except ModelError as error:
            reason = str(error).rstrip(".")
            raise SystemWeightsError(NAME, reason=reason, command=MAKES) from error

    @cached_property
    def controller(self) -> Controller:
        """What carries out the model's calls.

        Raises:
            SystemWeightsError: see ``lora``.
        """
        return Controller(self.core, self.lora, self.options.rows)

    @cached_property
    def _vectors(self) -> PhraseVectors:
        return PhraseVectors(self.core)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of phrases, [texts, d]."""
        return self._vectors(texts)

    def look_up(self, table: TripleTable, query: Query) -> Found:
        """What a table holds for a query."""
        return self._look_up(table, query)

    def has_one_value(self, relation: str) -> bool:
        """Whether a new value of a relation takes the place of the older one."""
        named = self.options.one_value
        return self.options.update == "replace" and (not named or relation in named)
