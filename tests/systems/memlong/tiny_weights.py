"""MemLong with random weights for the tiny model of ``tests.systems.conftest``."""

from __future__ import annotations

from tests.systems.latent.tiny_weights import tiny_options

from memplus.systems.memlong.options import MemLongOptions
from memplus.systems.memlong.system import MemLongSystem

__all__ = ["options"]

_SMALL = MemLongOptions(chunk=6, segment=12, local=200, bank=600, top_k=3, rank=2)


def options() -> dict[str, str]:
    """Sizes that fit the tiny model, and a folder of weights."""
    return tiny_options(MemLongSystem, _SMALL)
