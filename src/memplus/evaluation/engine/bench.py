"""What an evaluation is run on: systems side by side, and one way to count tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplus.data.stream import Reference
from memplus.systems.protocol import System

__all__ = ["Bench"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is evaluated, side by side."""

    systems: Sequence[System]
    reference: Reference
    """Counts the tokens of all plans."""

    @property
    def chunk(self) -> int:
        """Questions fall on multiples of so many tokens."""
        return max(system.chunk_tokens for system in self.systems)
