"""Which columns of long-term rows each layer of a model keeps.

Rows that single layers retrieve are each layer's own, with their birth and their write's id. Spans
are the same in every layer: birth and write id, and what counts down, are kept once, beside the
retrieval keys. Layers outside of ``MemoryConfig.long_term_layers`` keep no rows at all.

Shapes: c rows, ... what a row is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from memplus.config import MemoryConfig
from memplus.memory.packing import KEY, MORE, Share

__all__ = ["BOOKS", "LongTermLayout"]

BOOKS = ("birth", "write_id", "counter")
"""Columns that tell of a row, not what it says."""


@dataclass(frozen=True)
class LongTermLayout:
    """What is kept where.

    Args:
        stored: layers that keep rows.
        keyed: layers that keep retrieval keys.
        booked: layers that keep the bookkeeping: all that keep rows, or one for all of them.
    """

    stored: range
    keyed: range
    booked: range

    @classmethod
    def of(cls, config: MemoryConfig, layers: int) -> LongTermLayout:
        """The layout of a config's rows in a model of so many layers.

        Raises:
            ConfigError: the model has no such layers.
        """
        stored, keyed = config.stored_layers(layers), config.retrieving_layers(layers)
        return cls(stored, keyed, keyed if config.retrieves_spans else stored)

    def has(self, name: str, layer: int) -> bool:
        """Whether a layer keeps the column of this name."""
        if name.endswith(MORE) and self.share(layer) is not Share.UPPER:
            return False
        column = name.partition(".")[0]
        kept = self.keyed if column == KEY else self.booked if column in BOOKS else self.stored
        return layer in kept

    def share(self, layer: int) -> Share:
        """How much a layer's rows keep in 2 bits."""
        return Share.of(layer - self.stored.start, len(self.stored))

    def keeps(self, layer: int) -> bool:
        """Whether a layer keeps anything."""
        return layer in self.stored or layer in self.booked

    def of_layer(self, columns: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
        """One layer's columns, name -> [c, ...], from those of all layers, [L, c, ...].

        ``key`` has an entry for each layer in ``keyed`` alone.
        """
        return {
            name: column[self.keyed.index(layer) if name == KEY else layer]
            for name, column in columns.items()
            if self.has(name, layer)
        }
