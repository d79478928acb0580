"""The text in the weights: what one gets who fine-tunes on what should be remembered.

The "weights" condition of Book-SORT (2410.08133), in which all weights of a model are trained on
the books; here an update of low rank is, each session has one, and the plain base answers under it
without any text in the prompt.
"""

from __future__ import annotations

from pathlib import Path

from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.in_weights.session import InWeightsSession, load_in_weights
from memplus.systems.protocol import Session
from memplus.systems.shared import Part, SharedSystem

__all__ = ["InWeightsSystem"]


class InWeightsSystem(SharedSystem[InWeightsOptions]):
    """An update of the plain base for each session."""

    registered = "in_weights"
    called = "in the weights"
    options_type = InWeightsOptions
    sessions: type[Session] = InWeightsSession
    remembers = True
    chunk_tokens = 1

    @property
    def part(self) -> Part:
        """See ``SharedSystem.part``: the update stands on the plain base."""
        return "base"

    def open(self, seed: int) -> InWeightsSession:
        """See ``System.open``; the seed draws the first weights and the order of pieces."""
        return InWeightsSession(self, seed)

    def load(self, path: Path) -> InWeightsSession:
        """See ``Loads.load``."""
        return load_in_weights(self, path)
