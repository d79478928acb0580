"""How a model with memory is made and kept: loaded, put on a decoder, saved, copied, pickled."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.adapters import add_adapters
from memplus.backbone.layouts import is_memory_checkpoint, read_checkpoint
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.config import MemoryConfig, PromptConfig
from memplus.errors import NoBaseError, UnsupportedModelError, UsageError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.arguments import as_name
from memplus.mplus.asking import Asker
from memplus.mplus.bundles import bundle_tokenizer, find_base, overlay
from memplus.mplus.core import Core
from memplus.mplus.loading import Parts, assemble_model
from memplus.mplus.locating import Origin, locate_backbone, locate_memory_model
from memplus.mplus.placement import LoadOptions, dtype_for, place
from memplus.mplus.properties import Properties
from memplus.mplus.reader import Reader
from memplus.mplus.saving import Saved, save_directory
from memplus.mplus.writer import Writer
from memplus.passes.pristine import Pristine

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["REFERENCE", "Pretrained"]

REFERENCE = "reference"
"""For ``save_pretrained``: a bundle over what the model was loaded from."""


class Pretrained(Properties):
    """A stock decoder, what memory adds to it, and where both come from; ``MPlus`` adds deeds."""

    origin: Origin | None
    """Where the stock weights were loaded from; None: the decoder was given as an object."""

    def __init__(
        self,
        model: PreTrainedModel,
        config: MemoryConfig,
        weights: MemoryWeights,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt: PromptConfig | None = None,
        pristine: Pristine | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.kept: dict[str, Tensor] = {}
        self.origin: Origin | None = None
        self.dtype_reason = "as it was given"
        """Why its weights are in their dtype, in words."""
        self.core = Core(
            model, config, weights, tokenizer=tokenizer, prompt=prompt, pristine=pristine
        )
        self._writer = Writer(self.core)
        self._reader = Reader(self.core)
        self.asker = Asker(self.core, self._reader)

    def __reduce__(self) -> tuple[Callable[..., Pretrained], tuple[Any, ...]]:
        core = self.core
        parts = (self.model, core.memory_config, self.weights)
        named = (
            core.optional_tokenizer,
            core.prompt,
            core.pristine,
            self.kept,
            core.name,
            self.origin,
            self.dtype_reason,
        )
        return _rebuilt, (type(self), parts, named)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with weights of its own; it waits for passes that other threads run."""
        with self.core.backbone.lock:
            make, parts = self.__reduce__()
            twin = make(*copy.deepcopy(parts, memo))
        return cast("Self", twin)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str | int | torch.device | None = None,
        retrieved_tokens: int | None = None,
        base: str | os.PathLike[str] | None = None,
        **options: Unpack[LoadOptions],
    ) -> Self:
        """Load a model with memory: a name of ``memplus models``, a directory, or a hub id.

        Of a bundle the base is looked for too: a base model that memplus knows is fetched the
        first time, with a line on stderr that says what, how large and under which licence.

        Args:
            name: our layouts (whole, or a bundle) or a published one (M+, MemoryLLM); told apart
                by their files and fields.
            dtype: of the weights, or its name; ``"auto"`` for the config's own, which is the
                default too, but on a CPU for a bundle over a base model that memplus knows:
                bfloat16 where the processor multiplies it natively, else float32.
            device: where they go, or its name; the CPU by default.
            retrieved_tokens: overrides M; 0 loads the same weights as a MemoryLLM. Memories that
                were saved with another M above 0 are opened and read with this one, unless
                they drop rows by counters (``CounterEviction``).
            base: where a bundle's base lies, if not where the bundle says.
            options: ``revision``, ``token``, ``cache_dir``, ``local_files_only`` of a hub id;
                ``device_map`` that names one device.

        Raises:
            ConfigError: an option cannot be had here, or a field of a config is wrong.
            UnknownModelError, MissingWeightsDirectory, NotADecoderError, UnsupportedModelError.
            UntrainedBaseError: the name of a base model for which no memory has been trained yet.
            BundleError: a bundle's base is missing or another, or its adapters are not those that
                it describes.
            BaseUnavailableError, StorageError: a base cannot be fetched.
            WeightsError: any missing, unexpected or misshapen weight, by name.
            UsageError: ``name`` is no path and no name, or ``base`` is given where no bundle is.
        """
        name, placed = as_name(name, "name"), place(dtype, device, options)
        origin = locate_memory_model(name, placed.hub)
        under = find_base(origin.path, placed.hub, None if base is None else as_name(base, "base"))
        if base is not None and under is None:
            raise UsageError(f"{name} holds every weight itself: it has no base to look for.")
        checkpoint = read_checkpoint(
            origin.path, retrieved_tokens, None if under is None else under.path
        )
        chosen = dtype_for(placed, over_base=under is not None and under.known_base)
        parts = assemble_model(checkpoint, chosen.dtype, placed.device)
        made = cls(
            parts.model,
            checkpoint.memory,
            parts.weights,
            tokenizer=bundle_tokenizer(checkpoint),
            prompt=checkpoint.prompt,
            pristine=parts.pristine,
        )
        made.kept, made.origin = parts.kept, under or origin
        made.core.name, made.dtype_reason = name, chosen.why
        return made

    @classmethod
    def from_backbone(
        cls,
        model: PreTrainedModel | str | os.PathLike[str],
        config: MemoryConfig,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt: PromptConfig | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | int | torch.device | None = None,
        **options: Unpack[LoadOptions],
    ) -> Self:
        """Give a stock decoder a fresh, untrained memory.

        Args:
            model: a loaded model, a directory, a hub id, or a base model's name
                (``"smollm2"``), which is fetched the first time.
            config: sizes and rules of the memory.
            tokenizer: for text; a directory's own is found by itself.
            prompt: how questions are put.
            dtype: of a model loaded here, as ``from_pretrained`` takes it.
            device: where a model loaded here goes; the CPU by default.
            options: as those of ``from_pretrained``.

        Raises:
            UsageError: an argument of another kind; ``dtype``, ``device`` or options for a model
                that is loaded already.
            NotADecoderError, UnsupportedModelError, UnknownModelError, MissingWeightsDirectory,
            ConfigError.
            BaseUnavailableError, StorageError: a base model cannot be fetched.
        """
        if not isinstance(config, MemoryConfig):
            raise UsageError(f"config must be a MemoryConfig, not {type(config).__name__}.")
        placed, origin, why = place(dtype, device, options), None, ""
        if isinstance(model, str | os.PathLike):
            origin = locate_backbone(as_name(model, "model"), placed.hub)
            path = origin.path
            if is_memory_checkpoint(path):
                reason = "it has a memory already; load it with MPlus.from_pretrained"
                raise UnsupportedModelError(str(path), reason=reason)
            tokenizer = load_tokenizer(path) if tokenizer is None else tokenizer
            chosen = dtype_for(placed, over_base=origin.known_base)
            model, why = load_stock(path, chosen.dtype, placed.device), chosen.why
        elif options or not (dtype is None and device is None):
            raise UsageError("The model is loaded already: move and cast it before.")
        backbone = Backbone(model)
        weights = MemoryWeights(len(backbone.layers), backbone.hidden_size, config)
        weights = weights.to(device=backbone.device, dtype=backbone.dtype)
        if config.adapters is not None:
            add_adapters(model, config.adapters)
        made = cls(model, config, weights, tokenizer=tokenizer, prompt=prompt)
        made.origin = origin
        made.dtype_reason = why or made.dtype_reason
        return made

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        *,
        storage_dtype: torch.dtype | None = None,
        base: str | os.PathLike[str] | None = None,
    ) -> None:
        """Save everything in our layout; ``from_pretrained`` gives the same logits, bit for bit.

        With ``base`` what is saved is a bundle: adapters, memory weights and config, and which
        base they lie over, whose weights are left out. It loads on that base alone.

        Args:
            path: directory, made where it is missing; may be the one it was loaded from.
            storage_dtype: keep floating-point weights in this dtype (they are loaded back in the
                config's own); None keeps them as they are.
            base: None saves the whole model, ``"reference"`` a bundle over what the model was
                loaded from; a name, a directory or a hub id says where else those weights lie.

        Raises:
            StorageError: the disk refused; a model that was there before is untouched.
            NoBaseError: ``"reference"``, and the model was not loaded by a name.
            BaseChangedError: the model's stock weights are not those of its base.
            NestedBundleError: the base that was named is a bundle.
            UsageError: ``path`` is the directory of the base.
        """
        parts = Parts(self.model, self.weights, self.pristine, self.kept)
        tokenizer = self.core.optional_tokenizer
        saved = Saved(parts, self.memory_config, self.prompt, tokenizer)
        if self.origin is not None:
            saved = replace(saved, notice=self.origin.notice)
        if base is not None:
            over = overlay(self._base(as_name(base, "base")), self.core.backbone, tokenizer)
            if Path(path).exists() and os.path.samefile(path, over.path):
                raise UsageError(f"{path} is where the base lies, which would be gone.")
            kept = tokenizer if over.own_tokenizer else None
            saved = replace(saved, tokenizer=kept, base=over.base)
        save_directory(saved, path, storage_dtype)

    def _base(self, name: str) -> Origin:
        """What a bundle of this model is to lie over."""
        if name != REFERENCE:
            return locate_backbone(name)
        if self.origin is None:
            raise NoBaseError(self.name)
        return self.origin


Made = TypeVar("Made", bound=Pretrained)


def _rebuilt(kind: type[Made], parts: tuple[Any, ...], named: tuple[Any, ...]) -> Made:
    tokenizer, prompt, pristine, kept, name, origin, why = named
    made = kind(*parts, tokenizer=tokenizer, prompt=prompt, pristine=pristine)
    made.kept, made.core.name, made.origin, made.dtype_reason = kept, name, origin, why
    return made
