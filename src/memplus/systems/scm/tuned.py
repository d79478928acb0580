"""Weights of a controller that was trained for its yes and no; the published method has none."""

from __future__ import annotations

from pathlib import Path

from memplus.backbone.lora import Lora
from memplus.mplus.model import MPlus
from memplus.systems.own_adapters import SHIPPED, OwnAdapters

__all__ = ["digest_of", "require_tuned", "tuned_lora"]

_SYSTEM = "scm:controller=tuned"
_COMMANDS = (
    "memplus train --config configs/scm/controller.yaml",
    "python benchmarks/scm_gate.py --questions data/squad/dev-v2.0.json.gz "
    "--weights runs/scm_controller --out runs/scm_controller/smollm2-tuned.json",
)
"""The second one chooses the thresholds, and says how often the controller is right by them."""


def require_tuned(weights: str) -> OwnAdapters:
    """A controller's adapter.

    Args:
        weights: its folder; empty: the one that comes with memplus.

    Raises:
        SystemWeightsError: nothing lies there.
    """
    found = OwnAdapters(_SYSTEM, _COMMANDS, Path(weights) if weights else SHIPPED / "scm")
    found.require()
    return found


def digest_of(weights: str) -> str:
    """SHA-256 of an adapter's weights, in hex.

    Raises:
        SystemWeightsError: nothing lies there.
    """
    return require_tuned(weights).digest


def tuned_lora(model: MPlus, weights: str) -> Lora:
    """A controller's adapter, for a model.

    Args:
        model: whose base it was trained on.
        weights: its folder; empty: the one that comes with memplus.

    Raises:
        SystemWeightsError: nothing lies there, or it is another model's, or damaged.
    """
    return require_tuned(weights).load(model)
