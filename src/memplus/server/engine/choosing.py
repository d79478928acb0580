"""Which token comes next, by one request's own rules and its own dice.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from memplus.server.engine.requests import Sampling, TokenScore

__all__ = ["Chooser"]


class Chooser:
    """Chooses the tokens of one answer.

    Args:
        sampling: the rules.
        decode: token ids -> text, for scores.
    """

    def __init__(self, sampling: Sampling, decode: Callable[[list[int]], str]) -> None:
        self._sampling = sampling
        self._decode = decode
        self._dice = torch.Generator()
        if sampling.seed is None:
            self._dice.seed()
        else:
            self._dice.manual_seed(sampling.seed % (1 << 63))

    def choose(self, logits: Tensor) -> int:
        """The next token.

        Args:
            logits: [V] float32, finite.
        """
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        return self._drawn((logits.double() / self._sampling.temperature).softmax(0).cpu())

    def _drawn(self, chances: Tensor) -> int:
        """One token by its chance [V], from among the likeliest that have ``top_p`` together.

        One number is drawn whatever the chances are, so that a slight change of them, as in a pass
        with other neighbours, changes no token but one at a border.
        """
        if self._sampling.top_p < 1:
            best, order = chances.sort(descending=True, stable=True)
            kept = best.cumsum(0) - best < self._sampling.top_p
            chances = torch.zeros_like(chances).index_copy_(0, order[kept], best[kept])
        heights = chances.cumsum(0)
        lot = torch.rand((), generator=self._dice, dtype=torch.float64) * heights[-1]
        found = int(torch.searchsorted(heights, lot, right=True))
        return min(found, int(chances.nonzero()[-1]))

    def score(self, logits: Tensor, chosen: int) -> TokenScore | None:
        """How likely a token was; None where nobody asks."""
        count = self._sampling.logprobs
        if count is None:
            return None
        logs = logits.log_softmax(0)
        best = logs.topk(min(count, len(logs))) if count else None
        alternatives = () if best is None else zip(best.indices.tolist(), best.values.tolist())
        top = tuple((id, self._decode([id]), log) for id, log in alternatives)
        return TokenScore(chosen, self._decode([chosen]), float(logs[chosen]), top)
