"""Weights of a controller that was trained for its yes and no; the published method has none."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from memplus.backbone.lora import Lora
from memplus.errors import ModelError, SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER, RECORD, base_digest, load_adapter
from memplus.mplus.model import MPlus

__all__ = ["digest_of", "require_tuned", "tuned_lora"]

_COMMAND = "memplus train configs/scm/controller.yaml"


def require_tuned(weights: str) -> Path:
    """The folder of a controller's adapter.

    Args:
        weights: it; empty: none comes with memplus.

    Raises:
        SystemWeightsError: nothing lies there.
    """
    if not weights:
        reason = "no tuned controller comes with memplus"
        raise SystemWeightsError("scm:controller=tuned", reason=reason, command=_COMMAND)
    for name in (RECORD, ADAPTER):
        if not (Path(weights) / name).is_file():
            reason = f"{Path(weights) / name} is not there"
            raise SystemWeightsError("scm:controller=tuned", reason=reason, command=_COMMAND)
    return Path(weights)


def digest_of(weights: str) -> str:
    """SHA-256 of an adapter's weights, in hex.

    Raises:
        SystemWeightsError: nothing lies there.
    """
    return sha256((require_tuned(weights) / ADAPTER).read_bytes()).hexdigest()


def tuned_lora(model: MPlus, weights: str) -> Lora:
    """A controller's adapter.

    Args:
        model: whose base it was trained on.
        weights: its folder.

    Raises:
        SystemWeightsError: nothing lies there, or it is another model's, or damaged.
    """
    folder = require_tuned(weights)
    digest = None if model.origin is None else base_digest(model.origin, model.core.backbone)
    try:
        return load_adapter(folder, model.core.backbone, digest)
    except ModelError as error:
        reason = str(error).rstrip(".")
        raise SystemWeightsError("scm:controller=tuned", reason=reason, command=_COMMAND) from error
