"""The model that the flags name; the model library is imported here, not before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from memplus.cli.fetching import fetch, fetch_base_of
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["load_model", "load_to_examine"]


def load_model(name: str, *, device: str | None, dtype: str | None) -> MPlus:
    """The model that ``--model``, ``--device`` and ``--dtype`` ask for, in evaluation mode.

    A base model that it lies over is fetched the first time. The process divides its products over
    as many threads as the model is worth (``mplus.dividing``).

    Raises:
        ConfigError: the device or the dtype is not to be had.
        ModelError, StorageError: see ``MPlus.from_pretrained``.
    """
    _quieten()
    fetch_base_of(name)
    import torch

    from memplus.mplus.dividing import threads_for
    from memplus.mplus.model import MPlus

    model = MPlus.from_pretrained(name, dtype=dtype, device=device or "cpu").eval()
    torch.set_num_threads(threads_for(model))
    return model


def load_to_examine(name: str, *, device: str | None, dtype: str | None) -> MPlus:
    """As ``load_model``; a base model that no bundle comes with gets a small, untrained memory.

    Raises:
        ConfigError, ModelError, StorageError: see ``MPlus.from_pretrained`` and
            ``MPlus.from_backbone``.
    """
    from memplus.mplus.bases import known_bases
    from memplus.mplus.bundled import bundle_for

    if name not in known_bases() or bundle_for(name) is not None:
        return load_model(name, device=device, dtype=dtype)
    _quieten()
    fetch(known_bases()[name], [], Output(as_json=False))
    from memplus.config import MemoryConfig
    from memplus.mplus.model import MPlus

    sizes = MemoryConfig(
        short_term_tokens=128, retrieved_tokens=32, tokens_per_write=16, chunk_tokens=32
    )
    return MPlus.from_backbone(name, sizes, dtype=dtype, device=device or "cpu").eval()


def _quieten() -> None:
    """The library's advice and its bars are not about what the user asked for."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
