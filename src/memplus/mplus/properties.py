"""What a model with memory is: its sizes, name, weights, text. ``MPlus`` adds what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.config import MemoryConfig, PromptConfig
from memplus.mplus.core import Core
from memplus.mplus.fingerprint import tokenizer_digest
from memplus.passes.pristine import Pristine

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Properties"]


class Properties(nn.Module):
    """A model's properties, all of them those of its core."""

    core: Core
    model: PreTrainedModel

    def __repr__(self) -> str:
        config, count = self.memory_config, sum(weight.numel() for weight in self.parameters())
        return (
            f"MPlus({self.name!r}, {type(self.model).__name__}, {count:,} weights, "
            f"{self.core.backbone.dtype}, {self.device}, short_term={config.short_term_tokens}, "
            f"retrieved={config.retrieved_tokens}, tokens_per_write={config.tokens_per_write}, "
            f"chunk={config.chunk_tokens})"
        )

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        found = getattr(type(self), name, None)
        if isinstance(found, property) and found.fget is not None:
            # The property itself lacked something, and the base class would hide what.
            value: Tensor | nn.Module = found.fget(self)
            return value
        return super().__getattr__(name)

    @property
    def backbone(self) -> Backbone:
        """Access to the stock decoder."""
        return self.core.backbone

    @property
    def owner(self) -> Core:
        """Whose its memories are: what each of them keeps hold of."""
        return self.core

    @property
    def memory_config(self) -> MemoryConfig:
        """Sizes and rules of its memories."""
        return self.core.memory_config

    @property
    def prompt(self) -> PromptConfig:
        """How questions are put, and where answers end."""
        return self.core.prompt

    @prompt.setter
    def prompt(self, prompt: PromptConfig) -> None:
        self.core.prompt = prompt

    @property
    def pristine(self) -> Pristine:
        """The rows that every new memory starts from."""
        return self.core.pristine

    @pristine.setter
    def pristine(self, pristine: Pristine) -> None:
        self.core.pristine = pristine

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.core.name

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            TokenizerMissingError: the checkpoint came without one.
        """
        return self.core.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights and the memories' rows are."""
        return self.core.device

    @property
    def positions(self) -> int:
        """Positions that a prefix and its text may take together, rope scaling counted."""
        return self.core.positions

    @property
    def fingerprint(self) -> str:
        """Digest of every weight that shapes rows, the dtype and the memory's sizes."""
        return self.core.fingerprint

    def fingerprint_of(self, config: MemoryConfig) -> str:
        """``fingerprint`` as it is with the M of another config."""
        return self.core.fingerprint_of(config)

    @property
    def adapted_fingerprint(self) -> str:
        """Digest of the stock weights, their dtype and the adapters: of what reads a prompt."""
        return self.core.weights_identity.adapted_fingerprint()

    @property
    def base_fingerprint(self) -> str:
        """Digest of the stock weights alone, and their dtype: of a model without a memory."""
        return self.core.weights_identity.base_fingerprint()

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the parts of a model that a memory depends on, each by its name."""
        return self.identity_of(self.memory_config)

    def identity_of(self, config: MemoryConfig) -> dict[str, str]:
        """``identity`` as it is with the M of another config."""
        tokenizer = tokenizer_digest(self.core.optional_tokenizer)
        return self.core.weights_identity.parts(config) | {"tokenizer": tokenizer}

    @property
    def weights_version(self) -> int:
        """Differs after a change of weights or adapters; see ``mplus.fingerprint``."""
        return self.core.weights_version

    def check_weights(self) -> None:
        """Look at every bit of the weights, so that no change since an earlier look is missed.

        Saving and opening a memory do so. Takes some 0.5 seconds for each gigabyte of weights.
        """
        self.core.check_weights()

    def changed_since(self, version: int) -> str:
        """What differs from the weights of an earlier ``weights_version``, in words."""
        return self.core.changed_since(version)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens: the bos embedding stands in for them.

        Control tokens that the text spells (``<|im_end|>``) stay text.

        Raises:
            BrokenTextError, TokenizerMissingError.
        """
        return self.core.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; empty where there is no tokenizer."""
        return self.core.decode(ids)
