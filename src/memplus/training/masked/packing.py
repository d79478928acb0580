"""Examples as tokens, put side by side into rows, none of which sees another.

Shapes: R rows, S tokens of a row, n learned tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from memplus.errors import EmptyTextError, TrainingStartError
from memplus.mplus.own_tokenizer import own_tokenizer
from memplus.training.masked.example import Example

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["IGNORED", "Encoded", "Packed", "encode_example", "pack_examples"]

IGNORED = -100
"""Label of a token that is not learned."""


@dataclass(frozen=True)
class Encoded:
    """An example as token ids."""

    label: str
    ids: list[int]
    labels: list[int]
    """The ids that are learned, -100 elsewhere; the first token is never learned."""


@dataclass(frozen=True)
class Packed:
    """A batch. ``ids``, ``labels``, ``positions`` and ``owner`` are [R, S]."""

    names: tuple[str, ...]
    """Labels of the examples, each once."""
    ids: Tensor
    labels: Tensor
    positions: Tensor
    """Of each token in its example, from 0."""
    owner: Tensor
    """Number of the example in its row, -1 for padding."""
    kinds: Tensor
    """[R, S]: index into ``names``, -1 for padding."""

    @property
    def blocked(self) -> Tensor:
        """[R, 1, S, S], bool: what a token must not attend to: others' and later ones'."""
        same = self.owner[:, :, None] == self.owner[:, None, :]
        size = self.ids.shape[1]
        past = torch.ones(size, size, dtype=torch.bool).tril().to(same.device)
        return ~(same & past)[:, None]


def encode_example(example: Example, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Tokens and labels of an example, piece by piece.

    Raises:
        EmptyTextError: nothing of it is learned.
        TrainingStartError: it ends with the tokenizer's end of text, which the tokenizer lacks.
    """
    pieces = [piece for piece in example.pieces if piece.text]
    found = own_tokenizer(tokenizer)([one.text for one in pieces], add_special_tokens=False)
    ids: list[int] = []
    labels: list[int] = []
    for piece, tokens in zip(pieces, found["input_ids"], strict=True):
        ids += tokens
        labels += tokens if piece.learned else [IGNORED] * len(tokens)
    if example.ends:
        end = tokenizer.eos_token_id
        if end is None:
            raise TrainingStartError("the tokenizer has no end of text, which examples end with")
        ids.append(int(end))
        labels.append(int(end))
    labels[0] = IGNORED
    if all(one == IGNORED for one in labels):
        raise EmptyTextError(f"What an example of {example.label} learns")
    return Encoded(example.label, ids, labels)


def pack_examples(examples: Sequence[Encoded], row_tokens: int) -> Packed:
    """Examples in as few rows as they fit into, the longest first.

    Args:
        examples: at least one.
        row_tokens: of a row, at most, unless one example alone is longer.
    """
    names = tuple(sorted({one.label for one in examples}))
    rows: list[list[Encoded]] = []
    room: list[int] = []
    longest = max(row_tokens, max(len(one.ids) for one in examples))
    for one in sorted(examples, key=lambda one: -len(one.ids)):
        place = next((i for i, left in enumerate(room) if left >= len(one.ids)), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(longest)
        rows[place].append(one)
        room[place] -= len(one.ids)
    shape = len(rows), longest - min(room)
    made = {name: torch.full(shape, -1) for name in ("owner", "kinds")}
    made |= {name: torch.zeros(shape, dtype=torch.int64) for name in ("ids", "positions")}
    made["labels"] = torch.full(shape, IGNORED)
    for row, held in enumerate(rows):
        start = 0
        for number, one in enumerate(held):
            span = slice(start, start + len(one.ids))
            made["ids"][row, span] = torch.tensor(one.ids)
            made["labels"][row, span] = torch.tensor(one.labels)
            made["positions"][row, span] = torch.arange(len(one.ids))
            made["owner"][row, span] = number
            made["kinds"][row, span] = names.index(one.label)
            start = span.stop
    return Packed(names, **made)
