"""Numbers that are no numbers: found where a pass ends, before anything is made of them.

One comparison per write and per answer, over what the last layer gives: whatever is not finite in
the weights has reached it by then.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memplus.errors import SelfTestError

__all__ = ["FiniteScores", "require_finite"]


def require_finite(name: str, what: str, values: Tensor) -> None:
    """Refuse values of which one is infinite or no number.

    Args:
        name: of the model, for the message.
        what: was computed.
        values: of any shape.

    Raises:
        SelfTestError: the model's weights cannot be trusted.
    """
    if not bool(torch.isfinite(values).all()):
        raise SelfTestError(name, detail=f"{what} is infinite or no number")


class FiniteScores:
    """A logits processor that changes nothing, and refuses the first scores of a sick model.

    Args:
        name: of the model, for the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._checked = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] as they are.

        Raises:
            SelfTestError: the first ones are infinite or no numbers.
        """
        if not self._checked:
            self._checked = True
            # Minus infinity is how a rule of generating forbids a token, but never every token.
            require_finite(self.name, "its score of a token", scores.amax(dim=-1))
        return scores
