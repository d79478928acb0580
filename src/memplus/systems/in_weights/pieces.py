"""A text as the pieces that are learned one by one."""

from __future__ import annotations

from itertools import pairwise

from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.kept_text import token_texts
from memplus.systems.protocol import ChatPrompt
from memplus.systems.shared import Shared

__all__ = ["pieces_to_learn"]

_READ = "Read this part of a text.\n\n"
"""What a piece stands behind as a message; the published wording is not repeated."""


def pieces_to_learn(text: str, shared: Shared, options: InWeightsOptions) -> list[list[int]]:
    """Token ids of a text's pieces, all about as long.

    A plain piece begins with the last token of the one before it, so that no token but the text's
    first goes without being predicted.

    Args:
        text: is tokenised as a whole.
        shared: the model.
        options: how long a piece is, and what stands around it.

    Returns:
        Pieces of two tokens at least: a text of one has nothing to predict.
    """
    positions = shared.mplus.positions
    if options.framing == "plain":
        ids = shared.encode([text])
        places = _places(len(ids), min(options.piece_tokens, positions) - 1)
        pieces = [ids[max(0, start - 1) : end] for start, end in places]
    else:
        tokens = list(token_texts([text], shared.reference))
        around = len(shared.prompt_ids(ChatPrompt(f"{_READ}x")))
        size = max(1, min(options.piece_tokens, positions - around))
        texts = ["".join(tokens[start:end]) for start, end in _places(len(tokens), size)]
        pieces = [shared.prompt_ids(ChatPrompt(_READ + one)) for one in texts]
    return [ids for ids in pieces if len(ids) > 1]


def _places(count: int, most: int) -> list[tuple[int, int]]:
    """Start and end of the fewest parts of at most so many, none longer than another by two."""
    parts = -(-count // most)
    ends = [count * number // parts for number in range(parts + 1)]
    return list(pairwise(ends))
