"""A text that is gone on with: the text's keys and values grow, what was found stays.

Shapes: B rows, T tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memplus.systems.latent.mechanism import Share
from memplus.systems.memlong.bank import Bank
from memplus.systems.memlong.masses import Masses
from memplus.systems.memlong.reading import Reading

__all__ = ["MemLongDecoding", "Run"]

Run = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Tokens [B, t], mask [B, all so far], positions [B, t] -> [B, t, d] after the final norm."""


class MemLongDecoding:
    """See ``Decoding``.

    Args:
        reading: of this text.
        banks: B, that it reads.
        run: a pass on its text cache.
        ids: [B, T] the text so far.
        mask: [B, T] 1 where a token is.
        positions: [B, T].
    """

    def __init__(
        self,
        reading: Reading,
        banks: Sequence[Bank],
        run: Run,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
    ) -> None:
        self._reading = reading
        self._banks = banks
        self._run = run
        self._masses = reading.masses = Masses()
        self._mask = mask
        self._last = positions[:, -1:]
        self._hidden = self._step(ids, positions)

    @torch.no_grad()
    def _step(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self._run(ids, self._mask, positions)[:, -1]

    @property
    def hidden(self) -> Tensor:
        """See ``Decoding.hidden``."""
        return self._hidden

    def step(self, tokens: Tensor) -> None:
        """See ``Decoding.step``."""
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self._last = self._last + 1
        self._hidden = self._step(tokens[:, None], self._last)

    @property
    def shares(self) -> Sequence[Sequence[Share]]:
        """See ``Decoding.shares``: the chunks that were read, by their part of the softmax."""
        found = self._reading.found
        if found is None:
            return [[] for _ in self._banks]
        banks = enumerate(self._banks)
        return [self._masses.shares(row, found, bank) for row, bank in banks]
