"""Random weights with which a latent system can be opened on the tiny model of ``conftest``."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from tests.systems.conftest import SHARED

from memplus.fields import changed, named, parse_spec
from memplus.systems.latent.system import LatentOptions, LatentSystem
from memplus.systems.latent.weights import WeightsRecord, save_weights

__all__ = ["tiny_options", "tiny_weights"]


@functools.cache
def tiny_weights(kind: type[LatentSystem[Any]], options: LatentOptions, seed: int = 0) -> Path:
    """A folder of random weights of a system for the model of ``conftest.SHARED``.

    Args:
        kind: the system.
        options: that the weights are for; ``weights`` is not looked at.
        seed: of the weights.
    """
    folder = Path(tempfile.mkdtemp(prefix="memplus-tiny-"))
    core = SHARED.mplus.core
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = kind.build(core.backbone, options, core.decode)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            spread = 0.25 if weight.dim() == 1 else 0.8 * weight.shape[-1] ** -0.5
            weight.add_(torch.randn(weight.shape, generator=generator) * spread)
    record = WeightsRecord(kind.registered, kind.sizes(options), "tiny", "0" * 64)
    save_weights(folder, made, record)
    return folder


def tiny_options(kind: type[LatentSystem[Any]], options: LatentOptions) -> dict[str, str]:
    """An entry of ``tests.systems.options.OPTIONS_FOR``: these options, with random weights.

    Args:
        kind: the system.
        options: small enough for the tiny model; ``weights`` is not looked at.
    """
    _, given = parse_spec(named("of", changed(options)), "system")
    return given | {"weights": str(tiny_weights(kind, options))}
