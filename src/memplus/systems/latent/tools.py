"""What the sessions of one system share: its mechanism with the trained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from memplus.config import require
from memplus.errors import ConfigError, ModelError, SystemWeightsError
from memplus.errors.base import storage_errors
from memplus.mplus.adapter_folder import base_digest
from memplus.mplus.core import Core
from memplus.mplus.trained_folder import why_unusable
from memplus.systems.latent.mechanism import Mechanism
from memplus.systems.latent.prompts import Prompt, around_question
from memplus.systems.latent.weights import WEIGHTS, load_weights, missing_file, read_record
from memplus.systems.protocol import ChatPrompt
from memplus.systems.shared import Shared

__all__ = ["Kind", "Tools"]


@dataclass(frozen=True)
class Kind:
    """What a system says of its mechanism."""

    name: str
    """The system's, in the registry."""
    makes: tuple[str, ...]
    """The commands that make the weights, in their order."""
    sizes: Mapping[str, Any]
    """The options that a record of weights says, as JSON values."""
    build: Callable[[Core], Mechanism[Any]]
    """Model -> the mechanism as training begins with it."""
    decided: Callable[[Core], Mapping[str, Any]]
    """Model -> ``sizes`` with a value for each."""
    undecided: tuple[str, ...] = ()
    """Names of those that have none before the model is known."""
    noted: tuple[str, ...] = ()
    """Names of those that may differ from what the record says."""

    def refused(self, reason: str) -> SystemWeightsError:
        """The error for weights that cannot be used."""
        return SystemWeightsError(self.name, reason=reason, commands=self.makes)


class Tools:
    """A mechanism that is loaded when it is first needed.

    Args:
        shared: the model.
        kind: which mechanism.
        folder: of the trained weights; None: it is not trained.

    Raises:
        SystemWeightsError: the weights are not there, or were trained with other options.
    """

    def __init__(self, shared: Shared, kind: Kind, folder: Path | None) -> None:
        self.shared = shared
        self.folder = folder
        self._kind = kind
        if folder is not None:
            absent = missing_file(folder)
            if absent:
                raise kind.refused(f"{absent} is not there")
            self._check(folder, kind.sizes, (*kind.noted, *kind.undecided))

    def _check(self, folder: Path, sizes: Mapping[str, Any], noted: tuple[str, ...]) -> None:
        try:
            read_record(folder).require(self._kind.name, sizes, folder, noted)
        except ConfigError as error:
            raise self._kind.refused(why_unusable(error)) from error

    @property
    def core(self) -> Core:
        """The model."""
        return self.shared.mplus.core

    @cached_property
    def mechanism(self) -> Mechanism[Any]:
        """The mechanism with its trained weights.

        Raises:
            SystemWeightsError: they belong to another base, or are damaged.
            ConfigError: the decoder cannot serve the options.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = self._kind.build(self.core)
        whole = made.segment_tokens % made.unit == 0 and made.longest >= made.segment_tokens
        reason = f"a segment of {made.segment_tokens} is not whole, or longer than that"
        require(whole, f"{self._kind.name}: tokens read at once", made.longest, reason)
        if self.folder is None:
            return made.requires_grad_(requires_grad=False).eval()
        if self._kind.undecided:
            self._check(self.folder, self._kind.decided(self.core), self._kind.noted)
        origin = self.shared.mplus.origin
        try:
            digest = None if origin is None else base_digest(origin, self.core.backbone)
            load_weights(self.folder, made, digest)
        except (ConfigError, ModelError) as error:
            raise self._kind.refused(why_unusable(error)) from error
        return made

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the trained weights' file, in hex; empty: the mechanism is not trained."""
        if self.folder is None:
            return ""
        path = self.folder / WEIGHTS
        with storage_errors(path):
            return sha256(path.read_bytes()).hexdigest()

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        rules = getattr(self.core.backbone.model, "generation_config", None)
        named = getattr(rules, "eos_token_id", None)
        found = [*named] if isinstance(named, list) else [named]
        found.append(self.core.tokenizer.eos_token_id)
        return frozenset(int(one) for one in found if one is not None)

    @cached_property
    def _around(self) -> tuple[int, int]:
        """Tokens of the template before a question and behind it."""
        return around_question(lambda question: self.shared.prompt_ids(ChatPrompt(question)))

    def prompt(self, prompt: str | ChatPrompt) -> Prompt:
        """A prompt's tokens, and where the question stands in them."""
        ids = self.shared.prompt_ids(prompt)
        if isinstance(prompt, str):
            return Prompt(tuple(ids), (0, len(ids)))
        before, behind = self._around
        asked = len(self.shared.prompt_ids(ChatPrompt(prompt.user)))
        return Prompt(tuple(ids), (before, max(before, asked - behind)))
