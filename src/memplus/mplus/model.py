"""``MPlus``: weights, and what can be done to memories with them.

The model is stateless; a memory is a value. Whatever changes a memory is a method here that takes
the memory, or a batch of them; the model keeps nothing of a memory.

Shapes: B batch, T tokens, L layers, K new rows, d hidden size, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack, overload

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.adapters import add_adapters
from memplus.backbone.layouts import is_memory_checkpoint, read_checkpoint
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.config import MemoryConfig, PromptConfig
from memplus.errors import UnsupportedModelError, UsageError
from memplus.memory.records import NewRows, Passage
from memplus.memory.retriever import MemoryWeights
from memplus.memory.state import Memory
from memplus.mplus.arguments import Memories, as_batch, as_name
from memplus.mplus.asking import Answer, Asker, Stream
from memplus.mplus.core import Core
from memplus.mplus.evidence import Retrieved
from memplus.mplus.loading import Parts, assemble_model, resolve
from memplus.mplus.placement import LoadOptions, place
from memplus.mplus.reader import Reader
from memplus.mplus.saving import Saved, save_directory
from memplus.mplus.writer import Receipt, Text, Writer
from memplus.passes.pristine import Pristine
from memplus.passes.read import HiddenPrefix

if TYPE_CHECKING:
    from memplus.backbone.stock_types import (
        CausalLMOutputWithPast,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

__all__ = ["MPlus"]


class MPlus(nn.Module):
    """A stock decoder with a long memory (M+, arXiv 2502.00592).

    Made by ``from_pretrained`` or ``from_backbone``. Thread-safe: passes on one model take turns.
    ``copy.deepcopy`` and pickling copy the weights too.
    """

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
        self.core = Core(
            model, config, weights, tokenizer=tokenizer, prompt=prompt, pristine=pristine
        )
        self._writer = Writer(self.core)
        self._reader = Reader(self.core)
        self.asker = Asker(self.core, self._reader)

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

    def __reduce__(self) -> tuple[Callable[..., MPlus], tuple[Any, ...]]:
        core = self.core
        parts = (self.model, core.memory_config, self.weights)
        named = (core.optional_tokenizer, core.prompt, core.pristine, self.kept, core.name)
        return _rebuilt, (type(self), parts, named)

    # Making one ---------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str | int | torch.device | None = None,
        retrieved_tokens: int | None = None,
        **options: Unpack[LoadOptions],
    ) -> MPlus:
        """Load a model with memory: ``"nano"`` (bundled), a directory, or a hub id.

        Args:
            name: our layout or a published one (M+, MemoryLLM); told apart by their fields.
            dtype: of the weights, or its name; the config's own by default (``"auto"``).
            device: where they go, or its name; the CPU by default.
            retrieved_tokens: overrides M; 0 loads the same weights as a MemoryLLM.
            options: ``revision``, ``token``, ``cache_dir``, ``local_files_only`` of a hub id;
                ``device_map`` that names one device.

        Raises:
            ConfigError: an option cannot be had here, or a field of a config is wrong.
            UnknownModelError, MissingWeightsDirectory, NotADecoderError, UnsupportedModelError.
            WeightsError: any missing, unexpected or misshapen weight, by name.
            UsageError: ``name`` is no path and no name.
        """
        name, placed = as_name(name, "name"), place(dtype, device, options)
        path = resolve(name, placed.hub)
        checkpoint = read_checkpoint(path, retrieved_tokens)
        parts = assemble_model(checkpoint, placed.dtype, placed.device)
        made = cls(
            parts.model,
            checkpoint.memory,
            parts.weights,
            tokenizer=load_tokenizer(path, checkpoint.config),
            prompt=checkpoint.prompt,
            pristine=parts.pristine,
        )
        made.kept = parts.kept
        made.core.name = name
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
    ) -> MPlus:
        """Give a stock decoder a fresh, untrained memory.

        Args:
            model: a loaded model, a directory, or a hub id.
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
        """
        if not isinstance(config, MemoryConfig):
            raise UsageError(f"config must be a MemoryConfig, not {type(config).__name__}.")
        placed = place(dtype, device, options)
        if isinstance(model, str | os.PathLike):
            path = resolve(os.fspath(model), placed.hub)
            if is_memory_checkpoint(path):
                reason = "it has a memory already; load it with MPlus.from_pretrained"
                raise UnsupportedModelError(str(path), reason=reason)
            tokenizer = load_tokenizer(path) if tokenizer is None else tokenizer
            model = load_stock(path, placed.dtype, placed.device)
        elif options or not (dtype is None and device is None):
            raise UsageError("The model is loaded already: move and cast it before.")
        backbone = Backbone(model)
        weights = MemoryWeights(len(backbone.layers), backbone.hidden_size, config)
        weights = weights.to(device=backbone.device, dtype=backbone.dtype)
        if config.adapters is not None:
            add_adapters(model, config.adapters)
        return cls(model, config, weights, tokenizer=tokenizer, prompt=prompt)

    def save_pretrained(
        self, path: str | os.PathLike[str], *, storage_dtype: torch.dtype | None = None
    ) -> None:
        """Save everything in our layout; ``from_pretrained`` gives the same logits, bit for bit.

        Args:
            path: directory, made where it is missing; may be the one it was loaded from.
            storage_dtype: keep floating-point weights in this dtype (they are loaded back in the
                config's own); None keeps them as they are.

        Raises:
            StorageError: the disk refused; a model that was there before is untouched.
        """
        parts = Parts(self.model, self.weights, self.pristine, self.kept)
        saved = Saved(parts, self.memory_config, self.prompt, self.core.optional_tokenizer)
        save_directory(saved, path, storage_dtype)

    # What it is ---------------------------------------------------------------------------------

    @property
    def backbone(self) -> Backbone:
        """Access to the stock decoder."""
        return self.core.backbone

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

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the parts of a model that a memory depends on, each by its name."""
        return self.core.identity

    @property
    def weights_version(self) -> int:
        """Differs after a change of weights or adapters; see ``mplus.fingerprint``."""
        return self.core.weights_version

    def check_weights(self) -> None:
        """Look at every bit of the weights, so that no change since an earlier look is missed.

        Saving and opening a memory do so. Takes some 0.25 seconds for each gigabyte of weights.
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

    # Writing ------------------------------------------------------------------------------------

    @property
    def row_shape(self) -> tuple[int, int, torch.dtype]:
        """Layers L, hidden size d and dtype of the hidden vectors that a write makes."""
        return self.core.row_shape

    @property
    def vocabulary(self) -> int:
        """Token ids lie below it."""
        return self.core.vocabulary

    def new_memory(self, seed: int = 0, *, max_bytes: int | None = None) -> Memory:
        """A pristine memory.

        Args:
            seed: of the generator that decides what is dropped.
            max_bytes: refuse writes that would make the memory larger; None: no limit.
        """
        return self.core.new_memory(seed, max_bytes=max_bytes)

    @overload
    def write(
        self,
        memory: Memory,
        text: Text,
        *,
        source: str = ...,
        flush: bool = ...,
        progress: Callable[[int, int], None] | None = ...,
    ) -> Receipt: ...
    @overload
    def write(
        self,
        memory: Sequence[Memory],
        text: Sequence[Text],
        *,
        source: str | Sequence[str] = ...,
        flush: bool = ...,
        progress: Callable[[int, int], None] | None = ...,
    ) -> list[Receipt]: ...
    def write(
        self,
        memory: Memory | Sequence[Memory],
        text: Any,
        *,
        source: str | Sequence[str] = "",
        flush: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Receipt | list[Receipt]:
        """Write text into a memory, chunk by chunk; or a batch of texts into as many memories.

        What fills no chunk waits in ``memory.tail``, which reads see as ordinary text. A new
        source starts its own chunk. Interrupted or failing, what was written stays valid.

        Args:
            memory: one memory, or a list.
            text: text or token ids; a list of them for a list of memories.
            source: name of the text, for evidence; a list for a list.
            flush: write the tail too.
            progress: called as ``progress(tokens written, tokens in all)``.

        Raises:
            EmptyTextError: nothing to write.
            UsageError: what was given is no text and no token ids, or not one per memory.
            BudgetError: it would outgrow ``max_bytes``; nothing was written.
            MemoryMismatchError: the memory is another model's.
        """
        one = isinstance(memory, Memory)
        done = self._writer.write(
            [memory] if isinstance(memory, Memory) else memory,
            [text] if one else text,
            source=source,
            flush=flush,
            progress=progress,
        )
        return done[0] if one else done

    def new_rows(self, hidden: Tensor) -> NewRows:
        """What is kept of the rows [L, k, d] of one write, as the write itself made it."""
        return self.core.new_rows(hidden)

    def replay(self, memory: Memory, passages: Sequence[tuple[str, Passage]]) -> None:
        """Write passages (source, what is said) into a memory again, one chunk each.

        Args:
            memory: is changed.
            passages: in the order in which they were written, with the chunk borders of then.

        Raises:
            MemoryMismatchError: the memory is another model's.
        """
        self._writer.replay(memory, passages)

    def write_chunk(self, memory: Memory, input_ids: Tensor, drop: Tensor | None = None) -> None:
        """Write exactly one chunk (M+ section 3.1).

        Args:
            memory: is changed.
            input_ids: [T] or [1, T], any T >= 1.
            drop: [L, c] which positions of the pool (0 is the oldest row) are dropped; drawn by
                the memory's generator where it is not given.

        Raises:
            TailError: the memory has a tail.
            UsageError: ``drop`` does not fit.
        """
        self._writer.chunk(memory, as_batch(input_ids), drop)

    def compress(self, memory: Memory | None, input_ids: Tensor) -> Tensor:
        """The rows that a write of this chunk would make; the memory stays as it is.

        Keeps the graph: ``model(ids, memory=memory, new_rows=rows)`` reads them.

        Args:
            memory: whose newest rows the chunk attends to; None: none.
            input_ids: [T] or [1, T].

        Returns:
            [L, K, d] (fewer rows where memory and chunk together have fewer than K).
        """
        core, ids = self.core, as_batch(input_ids)
        core.check_ids(ids)
        core.check_chunk(ids.shape[1])
        ids = ids.to(self.device)
        with core.reading(memory):
            if memory is not None:
                core.check_owner(memory)
            tiled = core.tiles(memory)
            return core.write_rows(ids, core.context([memory]), first_of_tiled=tiled).rows[0]

    def write_rows(self, input_ids: Tensor, context: Tensor) -> Tensor:
        """One write pass over a batch, with gradients where they are on: for training.

        Args:
            input_ids: [B, T], no padding.
            context: [B, L, c, d] newest rows of each memory, c <= K; c may be 0.

        Returns:
            [B, L, K, d].
        """
        return self.core.write_rows(input_ids, context).rows

    # Reading ------------------------------------------------------------------------------------

    def read_rows(self, input_ids: Tensor, prefix: HiddenPrefix, **options: Any) -> Tensor:
        """One read pass over rows given as hidden vectors, with gradients: for training.

        Args:
            input_ids: [B, T].
            prefix: the rows.
            options: passed to the stock decoder (``attention_mask``, ``position_ids``).

        Returns:
            [B, T, d] after the final norm; ``logits`` turns what is needed of it into logits.
        """
        return self.core.read_rows(input_ids, prefix, **options)

    def logits(self, hidden: Tensor) -> Tensor:
        """The head: [..., d] -> [..., V], with the final cap where a family has one."""
        return self.core.logits(hidden)

    def forward(
        self,
        input_ids: Tensor | None = None,
        memory: Memories | None = None,
        *,
        new_rows: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of a prompt that sees its memory.

        Args:
            input_ids: [T], [1, T] or [B, T].
            memory: one for all rows, or one per row; None reads without memory.
            new_rows: [L, k, d] from ``compress``: read after the memory's own rows, with the
                graph kept. Without a memory they are all that is read, under the write adapter.
            attention_mask: [B, T] for padded prompts; after a cache, of the new tokens or of all.
            options: passed to the stock model (``labels``, ``use_cache``, ``logits_to_keep``,
                ``position_ids``, ...), which counts the caller's tokens, never those of a tail.
                ``inputs_embeds`` [B, T, d] may stand for ``input_ids``. ``past_key_values`` may be
                a cache of an earlier call with the same memory, unwritten since.

        Returns:
            The stock output; logits [B, T, V] and hidden states [B, T, d] cover the caller's
            tokens alone. Attentions, of a model loaded with eager attention, are [B, H, T,
            prefix + tail + T]; of rows with shorter prefixes the first columns are 0.

        Raises:
            PositionsError, StaleCacheError, MemoryMismatchError.
            UsageError: an argument of another kind or shape, ids outside the vocabulary, or an
                argument that the model does not read.
        """
        with self.core.reading(memory):
            return self._reader.forward(input_ids, memory, new_rows, attention_mask, options)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        memory: Memories | None = None,
        *,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """The stock ``generate`` with memory; greedy unless asked otherwise.

        Args:
            input_ids: [T], [1, T] or [B, T], padded on the left.
            memory: one for all rows, or one per row.
            attention_mask: [B, T].
            options: those of the stock ``generate``, which sees the caller's tokens alone, never
                those of a tail. With ``past_key_values`` of an earlier call, ``input_ids`` holds
                the whole conversation so far. ``mplus.generation`` lists what is not served.

        Returns:
            [B, T + new tokens] ids, the caller's input first; or the stock output object.

        Raises:
            PositionsError, StaleCacheError, MemoryMismatchError.
            ConfigError: less than one new token.
            UsageError: what would not be right is refused by name, before anything runs.
        """
        with self.core.reading(memory):
            return self._reader.generate(input_ids, memory, attention_mask, options)

    @overload
    def ask(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self,
        memory: Memory,
        question: str,
        *,
        max_new_tokens: int | None = ...,
        min_confidence: float | None = ...,
        stream: Stream | None = ...,
    ) -> Answer: ...
    @overload
    def ask(
        self,
        memory: Memories,
        question: Sequence[str],
        *,
        max_new_tokens: int | None = ...,
        min_confidence: float | None = ...,
    ) -> list[Answer]: ...
    def ask(
        self,
        memory: Memories,
        question: str | Sequence[str],
        *,
        max_new_tokens: int | None = None,
        min_confidence: float | None = None,
        stream: Stream | None = None,
    ) -> Answer | list[Answer]:
        """Put a question to a memory, greedily, and say where the answer came from.

        Several questions are read together, in batches, which costs much less than one by one.

        Args:
            memory: stays as it is; one for all questions, or one for each.
            question: in plain words, or a list; the prompt's template is put around each.
            max_new_tokens: most tokens of an answer; the prompt config's by default.
            min_confidence: an answer of less confidence is withheld, and the abstention given; the
                prompt config's by default.
            stream: called with pieces of the answer's text as they come; for one question.

        Raises:
            ConfigError, EmptyTextError, PositionsError, TokenizerMissingError, UsageError.
        """
        one = isinstance(question, str)
        answers = self.asker.ask(
            memory,
            [question] if isinstance(question, str) else question,
            max_new_tokens=max_new_tokens,
            min_confidence=min_confidence,
            stream=stream,
        )
        return answers[0] if one else answers

    def retrieve(self, memory: Memory, question: str) -> list[Retrieved]:
        """What a question retrieves from the long-term memory, by write, most rows first.

        Args:
            memory: stays as it is.
            question: in plain words.

        Raises:
            EmptyTextError, PositionsError, TokenizerMissingError.
        """
        return self.asker.retrieve(memory, question)


def _rebuilt(kind: type[MPlus], parts: tuple[Any, ...], named: tuple[Any, ...]) -> MPlus:
    tokenizer, prompt, pristine, kept, name = named
    made = kind(*parts, tokenizer=tokenizer, prompt=prompt, pristine=pristine)
    made.kept, made.core.name = kept, name
    return made
