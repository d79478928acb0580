"""Which token comes next, by one request's own rules and its own dice.

Shapes: V vocabulary.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from memplus.server.engine.requests import Sampling, TokenScore
from memplus.server.engine.spelling import Spelling

__all__ = ["Chooser"]


class Chooser:
    """Chooses the tokens of one answer.

    Args:
        sampling: the rules.
        spelling: of tokens, for scores.
    """

    def __init__(self, sampling: Sampling, spelling: Spelling) -> None:
        self._sampling = sampling
        self._spelling = spelling
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

    def score(self, logits: Tensor, chosen: int, *, first: bool = False) -> TokenScore | None:
        """How likely a token was; None where nobody asks.

        Args:
            logits: [V].
            chosen: the token.
            first: it is the answer's first one.
        """
        count = self._sampling.logprobs
        if count is None:
            return None
        logs = logits.log_softmax(0)
        best = logs.topk(min(count, len(logs))) if count else None
        alternatives = () if best is None else zip(best.indices.tolist(), best.values.tolist())
        spelling = partial(self._spelling, first=first)
        top = tuple((id, spelling(id), log) for id, log in alternatives)
        return TokenScore(chosen, spelling(chosen), float(logs[chosen]), top)
