"""The stock decoder that a run learns weights for, which itself stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from memplus.backbone.access import Backbone
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.errors import TokenizerMissingError
from memplus.mplus.adapter_folder import base_digest
from memplus.mplus.locating import Origin, locate_backbone

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["StockBase", "open_stock_base"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class StockBase:
    """A decoder without gradients, and where it came from."""

    origin: Origin
    backbone: Backbone
    tokenizer: PreTrainedTokenizerBase

    def decode(self, ids: Sequence[int]) -> str:
        """What token ids say."""
        return str(self.tokenizer.decode(list(ids)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its stored weights, in hex; empty where its directory is gone."""
        return base_digest(self.origin, self.backbone) or ""


def open_stock_base(name: str, dtype: str, device: torch.device) -> StockBase:
    """Load a decoder to learn weights for.

    Args:
        name: of `memplus models`, a directory or a hub id.
        dtype: ``float32`` or ``bfloat16``.
        device: where it goes.

    Raises:
        TokenizerMissingError: it has no tokenizer.
        MemplusError: it cannot be read.
    """
    origin = locate_backbone(name)
    model = load_stock(origin.path, _DTYPES[dtype], device)
    tokenizer = load_tokenizer(origin.path)
    if tokenizer is None:
        raise TokenizerMissingError(name)
    model.requires_grad_(requires_grad=False)
    if device.type == "cpu":
        # Its gradients are faster than those of the fused function.
        model.config._attn_implementation = "eager"
    return StockBase(origin, Backbone(model), tokenizer)
