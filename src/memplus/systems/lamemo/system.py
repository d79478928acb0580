"""LaMemo (2204.07341): a window of remembered positions that is refreshed from the right."""

from __future__ import annotations

from typing import Any

from memplus.backbone.access import Backbone
from memplus.systems.lamemo.mechanism import LaMemo
from memplus.systems.lamemo.options import LaMemoOptions
from memplus.systems.latent.mechanism import Mechanism
from memplus.systems.latent.system import Decode, LatentSystem

__all__ = ["LaMemoSystem"]


class LaMemoSystem(LatentSystem[LaMemoOptions]):
    """A decoder with a window that looks ahead.

    Args:
        shared: the model.
        options: how.

    Raises:
        SystemWeightsError: the trained weights are not there, or were trained with other options.
    """

    registered = "lamemo"
    called = "LaMemo"
    options_type = LaMemoOptions
    makes = (
        "memplus train --config configs/lamemo/stage1.yaml",
        "memplus train --config configs/lamemo/questions.yaml",
        "memplus train --config configs/lamemo/facts.yaml",
    )
    trained_for = ("segment", "lookahead", "rank", "alpha")
    # A state of any length goes on with any other: nothing that is trained knows it.
    noted = ("memory",)

    @property
    def not_of_sessions(self) -> tuple[str, ...]:
        """See ``SharedSystem.not_of_sessions``: only training adds an offset."""
        return (*super().not_of_sessions, "offset", "offset_steps")

    @classmethod
    def build(cls, backbone: Backbone, options: LaMemoOptions, decode: Decode) -> Mechanism[Any]:
        """See ``LatentSystem.build``; words are not looked at."""
        return LaMemo(backbone, options)
