"""How likely the tokens of a prompt are, read after a memory or by the plain model.

Shapes: T tokens of the prompt, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from memplus.memory.state import Memory
from memplus.server.engine.requests import TokenScore
from memplus.server.engine.spelling import Spelling
from memplus.server.faults import RequestFault

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["score_prompt"]

_MOST_BYTES = 1 << 30
"""Of the scores of one prompt, [T, V] in float32."""


@torch.inference_mode()
def score_prompt(
    model: MPlus, memory: Memory | None, ids: list[int], count: int
) -> list[TokenScore | bytes]:
    """The tokens of a prompt with their chances; the first one, which nothing precedes, has none.

    Runs in the model's thread.

    Args:
        model: reads.
        memory: that is read; None: the plain model.
        ids: of the prompt.
        count: how many of the likeliest tokens are told at each place.

    Raises:
        RequestFault: the prompt is too long to be scored.
        PositionsError: it does not fit the model.
    """
    if len(ids) * model.vocabulary * 4 > _MOST_BYTES:
        most = _MOST_BYTES // (model.vocabulary * 4)
        message = f"A prompt that is scored has at most {most} tokens."
        raise RequestFault.invalid(message, "prompt", "context_length_exceeded")
    prompt = torch.tensor([ids], device=model.device)
    logits = model.forward(prompt, memory=memory).logits
    if logits is None:
        raise TypeError("a read gives scores")
    chances = torch.log_softmax(logits[0, :-1].float(), dim=-1)  # [T - 1, V]
    own = chances.gather(1, prompt[0, 1:, None])[:, 0].tolist()
    values, places = chances.topk(count, dim=-1)
    spelling = Spelling(model.tokenizer, model.decode)
    found: list[TokenScore | bytes] = [spelling(ids[0], first=True)]
    for index, (chance, likely, which) in enumerate(
        zip(own, values.tolist(), places.tolist(), strict=True), start=1
    ):
        top = tuple((one, spelling(one), value) for one, value in zip(which, likely))
        found.append(TokenScore(ids[index], spelling(ids[index]), chance, top))
    return found
