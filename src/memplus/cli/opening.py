"""The model that the flags name; the model library is imported here, not before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["load_model"]


def load_model(name: str, *, device: str | None, dtype: str | None) -> MPlus:
    """The model that ``--model``, ``--device`` and ``--dtype`` ask for, in evaluation mode.

    Raises:
        ConfigError: the device or the dtype is not to be had.
        ModelError: see ``MPlus.from_pretrained``.
    """
    # Its advice and its bars are not about what the user asked for.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from memplus.mplus.model import MPlus

    return MPlus.from_pretrained(name, dtype=dtype, device=device or "cpu").eval()
