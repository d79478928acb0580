"""``MPlus``: weights, and what can be done to memories with them.

The model is stateless; a memory is a value. Whatever changes a memory is a method here that
takes the memory, or a batch of them; nothing of a memory stays behind in the model.

Shapes: B batch, T tokens, L layers, K new rows, d hidden size, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.adapters import add_adapters
from memplus.backbone.layouts import is_memory_checkpoint, read_checkpoint
from memplus.backbone.session import running
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.config import MemoryConfig, PromptConfig
from memplus.errors import (
    MemoryMismatchError,
    PositionsError,
    TokenizerMissingError,
    UnsupportedModelError,
)
from memplus.memory.records import NewRows, Passage
from memplus.memory.retriever import MemoryWeights
from memplus.memory.state import Memory
from memplus.mplus.asking import (
    Answer,
    Retrieved,
    Seen,
    Watch,
    answer,
    encode_question,
    retrieved_writes,
)
from memplus.mplus.encoding import encode_text
from memplus.mplus.fingerprint import digest
from memplus.mplus.loading import Parts, assemble_model, resolve
from memplus.mplus.reader import Memories, Reader, as_batch
from memplus.mplus.saving import Saved, save_directory
from memplus.mplus.writer import Receipt, Writer
from memplus.passes.memory_prefix import prefix_length
from memplus.passes.pristine import Pristine, fill_pristine
from memplus.passes.read import HiddenPrefix, Prefix, ReadSession
from memplus.passes.write import write_pass

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
        self.memory_config = config
        self.prompt = prompt or PromptConfig()
        self.pristine = pristine or Pristine()
        self.kept: dict[str, Tensor] = {}
        self.backbone = Backbone(model)
        self.name = str(getattr(model.config, "name_or_path", "") or type(model).__name__)
        self._tokenizer = tokenizer
        self._blank: tuple[int, Memory] | None = None
        self._fingerprint: tuple[int, str] | None = None
        self._identity: tuple[int, dict[str, str]] | None = None
        self._reader = Reader(self)
        _check_sizes(self.backbone, config)
        self.check_chunk(config.chunk_tokens)

    # Making one ---------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
        retrieved_tokens: int | None = None,
    ) -> MPlus:
        """Load a model with memory: ``"nano"`` (bundled), a directory, or a hub id.

        Args:
            name: our layout or a published one (M+, MemoryLLM); told apart by their fields.
            dtype: of the weights; the config's own by default.
            device: where they go.
            retrieved_tokens: overrides M; 0 loads the same weights as a MemoryLLM.

        Raises:
            UnknownModelError, MissingWeightsDirectory, NotADecoderError, UnsupportedModelError.
            WeightsError: any missing, unexpected or misshapen weight, by name.
        """
        path = resolve(os.fspath(name))
        checkpoint = read_checkpoint(path, retrieved_tokens)
        parts = assemble_model(checkpoint, dtype, torch.device(device))
        made = cls(
            parts.model,
            checkpoint.memory,
            parts.weights,
            tokenizer=load_tokenizer(path),
            prompt=checkpoint.prompt,
            pristine=parts.pristine,
        )
        made.kept = parts.kept
        made.name = os.fspath(name)
        return made

    @classmethod
    def from_backbone(
        cls,
        model: PreTrainedModel | str | os.PathLike[str],
        config: MemoryConfig,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt: PromptConfig | None = None,
        dtype: torch.dtype | None = None,
    ) -> MPlus:
        """Give a stock decoder a fresh, untrained memory.

        Args:
            model: a loaded model, a directory, or a hub id.
            config: sizes and rules of the memory.
            tokenizer: for text; a directory's own is found by itself.
            prompt: how questions are put.
            dtype: of a model loaded here.

        Raises:
            NotADecoderError, UnsupportedModelError, UnknownModelError, MissingWeightsDirectory,
            ConfigError.
        """
        if isinstance(model, str | os.PathLike):
            path = resolve(os.fspath(model))
            if is_memory_checkpoint(path):
                reason = "it has a memory already; load it with MPlus.from_pretrained"
                raise UnsupportedModelError(str(path), reason=reason)
            tokenizer = tokenizer or load_tokenizer(path)
            model = load_stock(path, dtype)
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
        saved = Saved(parts, self.memory_config, self.prompt, self._tokenizer)
        save_directory(saved, path, storage_dtype)

    # What it is ---------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            TokenizerMissingError: the checkpoint came without one.
        """
        if self._tokenizer is None:
            raise TokenizerMissingError(self.name)
        return self._tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights and the memories' rows are."""
        return self.backbone.device

    @property
    def positions(self) -> int:
        """Positions that a prefix and its text may take together, rope scaling counted."""
        return self.backbone.rope.positions

    @property
    def fingerprint(self) -> str:
        """Digest of every weight that shapes rows, the dtype and the memory's sizes."""
        version = self.weights_version
        if self._fingerprint is None or self._fingerprint[0] != version:
            self._fingerprint = (
                version,
                digest(self.memory_config, self.model.state_dict() | self.weights.state_dict()),
            )
        return self._fingerprint[1]

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the parts of a model that a memory depends on, each by its name."""
        version = self.weights_version
        if self._identity is None or self._identity[0] != version:
            self._identity = (version, self._digests())
        return self._identity[1]

    def _digests(self) -> dict[str, str]:
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "adapters": {}}
        for name, tensor in self.model.state_dict().items():
            parts["adapters" if "lora_" in name else "weights"][name] = tensor
        parts["memory weights"] = self.weights.state_dict()
        digests = {name: digest(self.memory_config, part) for name, part in parts.items()}
        tokenizer = self._tokenizer
        words = {} if tokenizer is None else tokenizer.get_vocab()
        fast = getattr(tokenizer, "backend_tokenizer", None)
        rules = "" if fast is None else fast.to_str()
        content = json.dumps([sorted(words.items()), rules], ensure_ascii=False).encode()
        return digests | {"tokenizer": hashlib.sha256(content).hexdigest()[:32]}

    @property
    def weights_version(self) -> int:
        """Grows with every change of a weight in place, so that what depends on it is made anew."""
        return sum(weight._version for weight in self.parameters())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens: the bos embedding stands in for them.

        Control tokens that the text spells (``<|im_end|>``) stay text.

        Raises:
            BrokenTextError, TokenizerMissingError.
        """
        return encode_text(self.tokenizer, text)[0]

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int] | None]:
        """``encode``, and where each id ends in the text; None where the tokenizer cannot tell."""
        return encode_text(self.tokenizer, text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; empty where there is no tokenizer."""
        return "" if self._tokenizer is None else str(self._tokenizer.decode(list(ids)))

    # Memories -----------------------------------------------------------------------------------

    def new_memory(self, seed: int = 0, *, max_bytes: int | None = None) -> Memory:
        """A pristine memory.

        Args:
            seed: of the generator that decides what is dropped.
            max_bytes: refuse writes that would make the memory larger; None: no limit.
        """
        version = self.weights_version
        if self._blank is None or self._blank[0] != version:
            blank = Memory(self, 0)
            fill_pristine(blank, self.backbone, self.weights, self.pristine)
            self._blank = (version, blank)
        memory = self._blank[1].fork()
        memory.seed, memory.max_bytes = seed, max_bytes
        memory.generator.manual_seed(seed)
        return memory

    @overload
    def write(self, memory: Memory, text: str | Sequence[int], **options: Any) -> Receipt: ...
    @overload
    def write(
        self, memory: Sequence[Memory], text: Sequence[str | Sequence[int]], **options: Any
    ) -> list[Receipt]: ...
    def write(self, memory: Any, text: Any, **options: Any) -> Any:
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
            BudgetError: it would outgrow ``max_bytes``; nothing was written.
            MemoryMismatchError: the memory is another model's.
        """
        writer = Writer(self)
        if isinstance(memory, Memory):
            return writer.write([memory], [text], **options)[0]
        return writer.write(list(memory), list(text), **options)

    def new_rows(self, hidden: Tensor) -> NewRows:
        """What is kept of the rows [L, k, d] of one write, as the write itself made it."""
        return Writer(self).new_rows(hidden)

    def replay(self, memory: Memory, passages: Sequence[tuple[str, Passage]]) -> None:
        """Write passages (source, what is said) into a memory again, one chunk each.

        Args:
            memory: is changed.
            passages: in the order in which they were written, with the chunk borders of then.

        Raises:
            MemoryMismatchError: the memory is another model's.
        """
        Writer(self).replay(memory, passages)

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
        Writer(self).chunk(memory, as_batch(input_ids), drop)

    def compress(self, memory: Memory | None, input_ids: Tensor) -> Tensor:
        """The rows that a write of this chunk would make; the memory stays as it is.

        Keeps the graph: ``model(ids, memory=memory, new_rows=rows)`` reads them.

        Args:
            memory: whose newest rows the chunk attends to; None: none.
            input_ids: [T] or [1, T].

        Returns:
            [L, K, d] (fewer rows where memory and chunk together have fewer than K).
        """
        ids = as_batch(input_ids).to(self.device)
        self.check_chunk(ids.shape[1])
        if memory is not None:
            self.check_owner(memory)
        return self.write_rows(ids, self.context([memory]), first_of_tiled=self.tiles(memory))[0]

    def write_rows(
        self, input_ids: Tensor, context: Tensor, *, first_of_tiled: bool = False
    ) -> Tensor:
        """One write pass over a batch, with gradients where they are on.

        Args:
            input_ids: [B, T], no padding.
            context: [B, L, c, d] newest rows of each memory, c <= K; c may be 0.
            first_of_tiled: see ``passes.write``.

        Returns:
            [B, L, K, d].
        """
        rows = self.memory_config.tokens_per_write
        made = write_pass(
            self.backbone, self.weights, input_ids, context, rows, first_of_tiled=first_of_tiled
        )
        return made.rows

    def read_rows(self, input_ids: Tensor, prefix: HiddenPrefix, **options: Any) -> Tensor:
        """One read pass over rows given as hidden vectors, with gradients: for training.

        Args:
            input_ids: [B, T].
            prefix: the rows.
            options: passed to the stock decoder (``attention_mask``, ``position_ids``).

        Returns:
            [B, T, d] after the final norm; ``logits`` turns what is needed of it into logits.
        """
        session = ReadSession(self.backbone, prefix)
        with running(self.backbone, session, self.backbone.adapters.reading):
            output = self.backbone.decoder(input_ids=input_ids, use_cache=False, **options)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """The head: [..., d] -> [..., V], with the final cap where a family has one."""
        logits: Tensor = self.backbone.model.get_output_embeddings()(hidden)
        cap = getattr(self.backbone.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def context(self, memories: Sequence[Memory | None]) -> Tensor:
        """[B, L, c, d]: what a write of these memories attends to; equal c for all."""
        count = self.memory_config.tokens_per_write
        rows = [None if memory is None else memory.recent(count) for memory in memories]
        empty = self.weights.memory_embedding.detach().new_empty(
            (len(self.backbone.layers), 0, self.backbone.hidden_size)
        )
        return torch.stack([empty if one is None else one for one in rows])

    def tiles(self, memory: Memory | None) -> bool:
        """Whether the memory's next write fills an empty pool by tiling."""
        empty = memory is None or memory.short_term_rows == 0
        return self.memory_config.first_write == "tile" and empty

    # Reading ------------------------------------------------------------------------------------

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
            attention_mask: [B, T] for padded prompts.
            options: passed to the stock model (``labels``, ``use_cache``, ...);
                ``past_key_values`` may be a cache of an earlier call with the same memory,
                unwritten since.

        Returns:
            The stock output; logits [B, T, V] cover the caller's tokens alone.

        Raises:
            PositionsError, StaleCacheError, MemoryMismatchError, UsageError.
        """
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
            options: those of the stock ``generate``; with ``past_key_values`` of an earlier call,
                ``input_ids`` holds the whole conversation so far, as in the stock contract.

        Returns:
            [B, T + new tokens] ids, the caller's input first; or the stock output object.
        """
        return self._reader.generate(input_ids, memory, attention_mask, options)

    @torch.no_grad()
    def generate_watched(
        self, input_ids: Tensor, memory: Memory, max_new_tokens: int
    ) -> tuple[Tensor, Watch]:
        """Greedy ids [1, T + new] and the attention that their read paid to each write."""
        watch = Watch(memory)
        options = {"max_new_tokens": max_new_tokens}
        return self._reader.generate(input_ids, memory, None, options, watch), watch

    @torch.no_grad()
    def generate_seen(
        self, input_ids: Tensor, memory: Memory, attention_mask: Tensor, max_new_tokens: int
    ) -> tuple[Tensor, Prefix]:
        """Greedy ids [B, T + new], and the prefix that says what each row retrieved."""
        seen = Seen()
        options = {"max_new_tokens": max_new_tokens}
        output = self._reader.generate(input_ids, memory, attention_mask, options, seen)
        return output, seen.prefix

    def ask(
        self,
        memory: Memory,
        question: str,
        *,
        max_new_tokens: int | None = None,
        min_confidence: float = 0.0,
    ) -> Answer:
        """Put a question to a memory, greedily, and say where the answer came from.

        Args:
            memory: stays as it is.
            question: in plain words; the prompt's template is put around it.
            max_new_tokens: most tokens of the answer; the prompt config's by default.
            min_confidence: an answer of less confidence is withheld, and the abstention given.

        Raises:
            ConfigError, EmptyTextError, PositionsError, TokenizerMissingError.
        """
        longest = max_new_tokens or self.prompt.max_new_tokens
        return answer(self, memory, question, longest, min_confidence)

    def retrieve(self, memory: Memory, question: str) -> list[Retrieved]:
        """What a question retrieves from the long-term memory, by write, most rows first.

        Args:
            memory: stays as it is.
            question: in plain words.

        Raises:
            EmptyTextError, PositionsError, TokenizerMissingError.
        """
        ids = torch.tensor([encode_question(self, question)], device=self.device)
        return retrieved_writes(memory, self._reader.prefill(ids, memory))

    def check_owner(self, memory: Memory) -> None:
        """Refuse a memory that other weights or sizes made.

        Raises:
            MemoryMismatchError: with what differs.
        """
        if memory.stale:
            raise MemoryMismatchError(differs="weights")
        if memory.owner is self:
            return
        if memory.config != self.memory_config:
            raise MemoryMismatchError(differs="memory config")
        if memory.owner.fingerprint != self.fingerprint:
            raise MemoryMismatchError(differs="weights")

    def check_chunk(self, length: int) -> None:
        """Refuse a chunk that needs more positions than there are.

        Raises:
            PositionsError: bos, the newest rows and the chunk do not fit.
        """
        config = self.memory_config
        left = self.positions - int(config.bos) - config.tokens_per_write
        if length > left:
            raise PositionsError(needed=length, available=max(0, left))

    def prefix_length(self, memory: Memory) -> int:
        """Positions that the prefix of a memory takes now."""
        return prefix_length(memory, bos=self.weights.bos_embedding is not None)


def _check_sizes(backbone: Backbone, config: MemoryConfig) -> None:
    longest = int(config.bos) + config.retrieved_tokens + config.short_term_tokens
    if longest >= backbone.rope.positions:
        raise PositionsError(needed=longest + 1, available=backbone.rope.positions)
