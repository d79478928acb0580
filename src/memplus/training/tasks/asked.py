"""Questions about what a pass writes, as tensors; torch is loaded when they are made.

Shapes: B documents of a process, q questions of a document, Q = B * q, t tokens of a question row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["IGNORED", "Asked", "AskedRow", "Kind", "asked_of"]

IGNORED = -100
"""The label of tokens that are not predicted."""


class Kind(IntEnum):
    """What a row asks for."""

    TOLD = 0
    """The answer is in what was written."""
    UNTOLD = 1
    """It was never written: the answer is the abstention."""
    CONTINUED = 2
    """No question: a piece of what was written, to go on with."""
    EARLIER = 3
    """The answer is in what an earlier pass wrote."""


@dataclass(frozen=True)
class AskedRow:
    """One row, as token ids."""

    kind: Kind
    tail: Sequence[int]
    """Text that is not written yet, read before the prompt."""
    prompt: Sequence[int]
    answer: Sequence[int]
    """Predicted, its last token too."""
    rows: tuple[int, int] | None = None
    """First and last of the rows that can hold the answer, counted from the first row that the
    pass writes, negative for rows of earlier passes; None: it stands in the tail, or nowhere."""


@dataclass(frozen=True)
class Asked:
    """All rows of a pass; those of document i are the i-th q."""

    ids: Tensor
    """[Q, t] tail, prompt, and the answer but for its last token; padded on the right."""
    labels: Tensor
    """[Q, t] the answer's tokens where they are predicted, else ``IGNORED``."""
    prompt: Tensor
    """[Q, t] true where a token asks the retriever."""
    kinds: Tensor
    """[Q] of ``Kind``."""
    rows: Tensor
    """[Q, 2] first and last row that can hold the answer; (0, -1) where none does."""
    answered: bool = True
    """Whether answers are learned, or only what is retrieved."""
    pad: Tensor | None = None
    """[Q] how many tokens at the left are none; None: rows are padded on the right."""

    @property
    def tokens(self) -> int:
        """Of all questions and their answers: neither tails nor padding."""
        return int(self.prompt.sum()) + int((self.labels != IGNORED).sum())


def asked_of(rows: Sequence[AskedRow], device: torch.device, *, left: bool = False) -> Asked:
    """The tensors of rows, those of a document side by side.

    Args:
        rows: of all documents.
        device: where the tensors belong.
        left: pad on the left.
    """
    import torch

    lengths = [len(r.tail) + len(r.prompt) + len(r.answer) - 1 for r in rows]
    length = max(lengths)
    shape = (len(rows), length)
    ids = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED)
    prompt = torch.zeros(shape, dtype=torch.bool)
    for place, row in enumerate(rows):
        start = length - lengths[place] if left else 0
        begin = len(row.tail)
        answer = begin + len(row.prompt)
        whole = torch.tensor([*row.tail, *row.prompt, *row.answer])
        end = start + len(whole) - 1
        ids[place, start:end] = whole[:-1]
        labels[place, start + answer - 1 : end] = whole[answer:]
        prompt[place, start + begin : start + answer] = True
    right = torch.tensor([row.rows or (0, -1) for row in rows])
    kinds = torch.tensor([int(row.kind) for row in rows])
    pad = length - torch.tensor(lengths, device=device) if left else None
    return Asked(
        ids.to(device), labels.to(device), prompt.to(device), kinds.to(device), right.to(device),
        pad=pad,
    )  # fmt: skip
