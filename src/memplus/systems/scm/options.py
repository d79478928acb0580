"""What of SCM can be chosen: sizes, and the published ablations (2304.13343)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memplus.config import require
from memplus.systems.scm.selection import Limits
from memplus.systems.shared import PromptOptions

__all__ = ["SCMOptions"]


@dataclass(frozen=True)
class SCMOptions(PromptOptions):
    """Options of ``scm``; the defaults are for a model of 135M parameters.

    ``adapter`` is what answers. The controller and the summaries are the plain base's either way.
    """

    gate: Literal["on", "off"] = "on"
    """Whether the controller is asked first if earlier turns are needed at all (question 1; the
    paper asks it, the published code does not)."""
    controller: Literal["auto", "plain", "tuned", "yes"] = "auto"
    """Who answers the controller's questions: the model (``plain``), the model under an adapter
    trained for them (``tuned``), or nobody, yes to all. ``auto``: the tuned one where weights are
    given or come along for the model, else the plain one."""
    k: int = 4
    """Turns called up at most."""
    recency: float = 1.0
    """Weight of recency beside relevance (1 in the paper, 0 in the published code)."""
    embed: Literal["words", "hidden"] = "words"
    """What relevance is: BM25, or the cosine of mean hidden states of a middle layer."""
    vector_of: Literal["raw", "summary"] = "raw"
    """What of a turn is compared with the input: its text, or its summary, made as it is told."""
    rule: Literal["code", "paper"] = "code"
    """How turns are shortened: by the published code's two questions, or by the paper's one."""
    limit: int = 1500
    """Tokens of activation and flash memory together (2500 in the published code)."""
    flash_limit: int = 300
    """A previous turn of more tokens is given as its summary (500 in the published code)."""
    item_limit: int = 480
    """By the paper's rule, turns of more tokens are asked about (800, beside 2000 in all)."""
    summary_above: int = 300
    """A turn of at most so many tokens is its own summary."""
    chunk: int = 512
    """Most tokens of running text that become one turn; it ends with a sentence."""
    naive: bool = False
    """The ablation without a controller: whole turns as long as they fit. Only question 1 is asked,
    where ``gate`` is on."""
    flash: bool = True
    """Whether the previous turn is given."""
    activation: bool = True
    """Whether earlier turns are called up."""
    weights: str = ""
    """Folder of the tuned controller's adapter; empty: the one that comes with memplus. Refused
    where no tuned controller is asked anything."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("k", 1), ("limit", 2), ("flash_limit", 0), ("item_limit", 0), ("summary_above", 0),
            ("chunk", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= least, name, value, f"it must be at least {least}")
        finite = 0 <= self.recency <= 1000
        require(finite, "recency", self.recency, "it is not in 0 to 1000")
        unasked = self._unasked
        require(not (self.weights and unasked), "weights", self.weights, f"{unasked} uses none")

    @property
    def _unasked(self) -> str:
        """The options by which no tuned controller is asked anything; empty: one may be."""
        if self.controller in ("plain", "yes"):
            return f"controller={self.controller}"
        if not self.activation:
            return "activation=false"
        return "naive=true with gate=off" if self.naive and self.gate == "off" else ""

    @property
    def limits(self) -> Limits:
        """How much is put into a prompt."""
        return Limits(self.limit, self.flash_limit, self.item_limit, self.rule)
