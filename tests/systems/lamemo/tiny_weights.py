"""Random trained parts for the tiny model of ``conftest.SHARED``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.systems.latent.toy import tiny_weights

from memplus.systems.lamemo.options import LaMemoOptions
from memplus.systems.lamemo.system import LaMemoSystem

__all__ = ["OPTIONS", "tiny_folder", "tiny_options"]

OPTIONS = {"segment": 32, "memory": 40, "rank": 2, "alpha": 4}
"""Sizes at which a few lines fill the window of the tiny model."""


@cache
def tiny_folder() -> Path:
    """The folder of the weights."""
    return tiny_weights(LaMemoSystem, LaMemoOptions(**OPTIONS))


def tiny_options() -> dict[str, str]:
    """Options as the command line takes them."""
    return {
        **{name: str(value) for name, value in OPTIONS.items()},
        "weights": str(tiny_folder()),
    }
