"""Which part of which document comes next: the same for the same seed, whatever the processes.

Shapes: D documents.
"""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import Tensor

from memplus.errors import ConfigError
from memplus.training.texts import Documents

__all__ = ["DocumentOrder"]


class DocumentOrder:
    """Takes stretches off documents, in an order drawn anew in every epoch.

    A document gives one stretch after another from its beginning on, none twice in an epoch, and
    no stretch crosses from one document into another. An epoch ends when no document has enough
    left for what is asked.
    """

    def __init__(self, documents: Documents, seed: int) -> None:
        self.documents = documents
        self.seed = seed
        self.epoch = 0
        self._begin()

    def _begin(self) -> None:
        self._sequence = list(range(len(self.documents)))
        Random(f"{self.seed}/epoch {self.epoch}").shuffle(self._sequence)
        self._place = 0
        self._taken = torch.zeros(len(self.documents), dtype=torch.int64)

    def take(self, length: int) -> Tensor:
        """[length] ids from one document.

        Raises:
            ConfigError: no document is that long.
        """
        if length > self.documents.longest:
            reason = f"the longest document has {self.documents.longest} tokens"
            raise ConfigError("tasks.target_tokens", value=length, reason=reason)
        while True:
            for _ in range(len(self._sequence)):
                index = self._sequence[self._place]
                self._place = (self._place + 1) % len(self._sequence)
                start = int(self._taken[index])
                if self.documents.spans[index][1] - start >= length:
                    self._taken[index] += length
                    return self.documents.read(index, start, length)
            self.epoch += 1
            self._begin()

    def state(self) -> dict[str, Any]:
        """Where it stands, as plain values."""
        begun = {str(i): taken for i, taken in enumerate(self._taken.tolist()) if taken}
        position = [self.epoch, self._place, len(self.documents)]
        return {"position": position, "taken": begun}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ConfigError: the texts are others.
        """
        epoch, place, count = state["position"]
        if count != len(self.documents):
            reason = f"the run was begun with {count} documents, now there are"
            raise ConfigError("data", value=len(self.documents), reason=reason)
        self.epoch = epoch
        self._begin()
        self._place = place
        for index, taken in state["taken"].items():
            self._taken[int(index)] = taken
