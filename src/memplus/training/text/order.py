"""Which part of which document comes next: the same for the same seed, whatever the processes."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import Tensor

from memplus.errors import ConfigError
from memplus.training.text.text_cache import Documents

__all__ = ["DocumentOrder"]


class DocumentOrder:
    """Takes stretches off documents, in an order drawn anew in every epoch.

    A document gives one stretch after another, none twice in an epoch, from a place drawn for the
    epoch on and, after its end, from its beginning to that place: otherwise every epoch would begin
    with nothing but beginnings. No stretch crosses from one document into another. An epoch ends
    when no document has enough left for what is asked.
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
        self._begun: dict[int, tuple[int, int]] = {}
        """Document -> where it was begun, and how many tokens from there on are done with."""

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
                start = self._start(index, length)
                if start is not None:
                    return self.documents.read(index, start, length)
            self.epoch += 1
            self._begin()

    def batch(self, length: int, count: int, share: range) -> Tensor:
        """[share, length] int64: so many stretches are taken, and those of a share are kept.

        Every process takes equally often the same number of the same length, so that all stay in
        step.

        Args:
            length: tokens of each.
            count: documents in all processes.
            share: those of this process.

        Raises:
            ConfigError: no document is that long.
        """
        taken = [self.take(length) for _ in range(count)]
        return torch.stack([taken[index] for index in share])

    def _start(self, index: int, length: int) -> int | None:
        """First token of a document's next stretch, now taken; None where too little is left."""
        whole = self.documents.spans[index][1]
        if index not in self._begun:
            if whole < length:
                return None
            random = Random(f"{self.seed}/epoch {self.epoch}/document {index}")
            self._begun[index] = (random.randrange(whole - length + 1), 0)
        begun, done = self._begun[index]
        if begun + done + length <= whole:
            self._begun[index] = (begun, done + length)
            return begun + done
        start = max(0, begun + done - whole)
        if start + length > begun:
            return None
        self._begun[index] = (begun, whole - begun + start + length)
        return start

    def state(self) -> dict[str, Any]:
        """Where it stands, as plain values."""
        position = [self.epoch, self._place, len(self.documents)]
        begun = {str(index): list(taken) for index, taken in self._begun.items()}
        return {"position": position, "begun": begun}

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
        self._begun = {int(index): (a, b) for index, (a, b) in state["begun"].items()}
