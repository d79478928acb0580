"""Late stopping: a write call may go on where it would have ended (2404.11672, appendix A).

A trained write model ends its calls too early. Where ``})`` is the best token the place is marked
with its score, and the second-best token is taken instead; when marks no longer get better, the
text is cut at the best one.

Shapes: V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from memplus.config import require

__all__ = ["Divisor", "LateStopping"]

Divisor = Literal["generated", "whole"]
"""What a mark's log-probability is divided by: the tokens generated, ``})`` counted; or all tokens
before it with the prompt, as the published code has it, which makes the division nearly idle."""


@dataclass
class LateStopping:
    """Chooses the tokens of one write call."""

    stop: int
    """Id of ``})``."""
    prompt_tokens: int
    """Tokens before the call."""
    patience: int = 5
    """Marks K: at least so many are made, and K - 1 after the best."""
    divisor: Divisor = "generated"
    tokens: list[int] = field(default_factory=list)
    """Chosen so far."""
    marks: dict[int, float] = field(default_factory=dict)
    """Number of tokens before the mark -> its score."""
    _sum: float = 0.0

    def __post_init__(self) -> None:
        require(self.patience >= 1, "patience", self.patience, "at least 1")

    def choose(self, logits: Tensor) -> int:
        """The next token; ``stop`` ends the call.

        Args:
            logits: [V] of the next token.
        """
        likely = logits.float().log_softmax(dim=-1)
        first, second = (int(one) for one in likely.topk(2).indices)
        if first == self.stop and self._goes_on:
            self.marks[len(self.tokens)] = (self._sum + float(likely[first])) / self._length
            first = second
        self._sum += float(likely[first])
        self.tokens.append(first)
        return first

    @property
    def _length(self) -> int:
        count = len(self.tokens)
        return count + 1 if self.divisor == "generated" else self.prompt_tokens + count

    @property
    def _goes_on(self) -> bool:
        """Whether fewer than K marks were made, or the best is among the last K - 1."""
        scores = list(self.marks.values())
        if len(scores) < self.patience:
            return True
        return scores.index(max(scores)) >= len(scores) - (self.patience - 1)

    def settled(self, limit: int) -> bool:
        """Whether no later mark can be better than the best one, so that all else is in vain.

        A mark's log-probability never rises, and it is divided by the longest text at the best.

        Args:
            limit: most tokens that are generated.
        """
        if not self.marks:
            return False
        longest = limit + 1 if self.divisor == "generated" else self.prompt_tokens + limit
        return max(self.marks.values()) >= self._sum / longest

    @property
    def kept(self) -> list[int]:
        """The tokens before the best mark, the first of equals; all of them without a mark."""
        if not self.marks:
            return [one for one in self.tokens if one != self.stop]
        return self.tokens[: max(self.marks, key=lambda place: self.marks[place])]
