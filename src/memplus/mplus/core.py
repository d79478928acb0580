"""What writing, reading and asking stand on: weights, backbone, tokenizer, sizes.

Knows nothing of those who write, read or ask. A memory's owner is a ``Core``: it says what the
model is, and makes what a memory keeps of a write.

Shapes: B batch, T tokens, L layers, K new rows, k new rows of a write, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.session import running
from memplus.config import MemoryConfig, PromptConfig
from memplus.errors import (
    ConfigError,
    MemorySizeError,
    PositionsError,
    TokenizerMissingError,
    UsageError,
)
from memplus.memory.guards import reading
from memplus.memory.layout import LongTermLayout
from memplus.memory.mismatch import mismatch
from memplus.memory.packing import RowKind, common_bytes, pack, require_kind
from memplus.memory.records import NewRows, RowBytes
from memplus.memory.retriever import MemoryWeights
from memplus.memory.state import Memory
from memplus.mplus.arguments import Memories, check_vocabulary
from memplus.mplus.encoding import encode_text
from memplus.mplus.fingerprint import WeightsIdentity
from memplus.passes.memory_prefix import prefix_length
from memplus.passes.pristine import Pristine, fill_pristine
from memplus.passes.projection import long_term_columns, project_rows
from memplus.passes.read import HiddenPrefix, ReadSession
from memplus.passes.write import WritePass, whole_write_pass, write_pass

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Core"]


class Core:
    """One model with memory, without what is done to memories.

    Args:
        model: the stock decoder.
        config: sizes and rules of its memories.
        weights: what memory adds to the decoder.
        tokenizer: for text; None where only token ids are given.
        prompt: how questions are put.
        pristine: the rows that every new memory starts from.

    Raises:
        NotADecoderError, UnsupportedModelError: the decoder cannot carry a memory.
        MemorySizeError: the memory or a chunk needs more positions than the decoder has.
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
        self.backbone = Backbone(model, adapted=config.adapters is not None)
        self.weights = weights
        self.memory_config = config
        self.prompt = prompt or PromptConfig()
        self.pristine = pristine or Pristine()
        self.name = str(getattr(model.config, "name_or_path", "") or type(model).__name__)
        self.optional_tokenizer = tokenizer
        self.weights_identity = WeightsIdentity(self.backbone, weights, config)
        self._blanks: dict[RowKind, tuple[int, Pristine, Memory]] = {}
        read = config.retrieved_tokens + config.short_term_tokens + 1
        written = config.tokens_per_write + config.chunk_tokens
        needed = int(config.bos) + max(read, written)
        if needed > self.positions:
            raise MemorySizeError(needed=needed, available=self.positions)

    @property
    def device(self) -> torch.device:
        """Where the weights and the memories' rows are."""
        return self.backbone.device

    @property
    def positions(self) -> int:
        """Positions that a prefix and its text may take together, rope scaling counted."""
        return self.backbone.rope.positions

    @property
    def row_shape(self) -> tuple[int, int, torch.dtype]:
        """Layers L, hidden size d and dtype of the hidden vectors that a write makes."""
        return len(self.backbone.layers), self.backbone.hidden_size, self.backbone.dtype

    @property
    def vocabulary(self) -> int:
        """Token ids lie below it."""
        return int(self.backbone.embedding.num_embeddings)

    @property
    def weights_version(self) -> int:
        """Differs after a change of weights or adapters; see ``mplus.fingerprint``."""
        return self.weights_identity.tag

    @property
    def fingerprint(self) -> str:
        """Digest of every weight that shapes rows, the dtype and the memory's sizes."""
        return self.fingerprint_of(self.memory_config)

    def fingerprint_of(self, config: MemoryConfig) -> str:
        """See ``MemoryOwner.fingerprint_of``."""
        return self.weights_identity.fingerprint(config)

    def check_weights(self) -> None:
        """Look at every bit of the weights; ``fingerprint`` is then that of this moment."""
        self.weights_identity.examine()

    def changed_since(self, version: int) -> str:
        """What differs from the weights of an earlier ``weights_version``, in words."""
        return self.weights_identity.changed_since(version)

    # Text ---------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            TokenizerMissingError: the checkpoint came without one.
        """
        if self.optional_tokenizer is None:
            raise TokenizerMissingError(self.name)
        return self.optional_tokenizer

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; see ``MPlus.encode``."""
        return encode_text(self.tokenizer, text)[0]

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int] | None]:
        """``encode``, and where each id ends in the text; None where the tokenizer cannot tell."""
        return encode_text(self.tokenizer, text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; empty where there is no tokenizer."""
        tokenizer = self.optional_tokenizer
        return "" if tokenizer is None else str(tokenizer.decode(list(ids)))

    # Memories -----------------------------------------------------------------------------------

    def new_memory(
        self, seed: int = 0, *, max_bytes: int | None = None, rows: RowKind | None = None
    ) -> Memory:
        """A pristine memory; see ``MPlus.new_memory``.

        Raises:
            UsageError: the stock model was cast by itself, so pristine rows do not fit it.
            ConfigError: ``seed`` or ``max_bytes`` is no such number, or ``rows`` no such way.
        """
        _check_integer("seed", seed, -(1 << 63), (1 << 64) - 1)
        require_kind(rows)
        kept: RowKind = rows or self.memory_config.rows
        version, begun, blank = self._blanks.get(kept, (None, None, None))
        if blank is None or version != self.weights_version or begun is not self.pristine:
            blank = self._new_blank(kept)
            self._blanks[kept] = blank.weights_version, self.pristine, blank
        memory = blank.fork()
        memory.seed, memory.max_bytes = seed, max_bytes
        memory.generator.manual_seed(seed)
        return memory

    def _new_blank(self, rows: RowKind) -> Memory:
        """What every new memory that keeps its rows so is a fork of."""
        # What the weights are now is what a later look at every bit is compared with.
        self.check_weights()
        if self.pristine.tensors():
            self._check_dtypes()
        blank = Memory(self, 0)
        fill_pristine(blank, self.backbone, self.weights, self.pristine)
        if rows != "exact":
            blank.pack(rows)
        return blank

    def check_owner(self, memory: Memory) -> None:
        """Refuse a memory that other weights or sizes made.

        Raises:
            MemoryMismatchError: with what differs.
            UsageError: the stock model and what memory adds to it are of different dtypes.
        """
        memory.require_usable()
        self._check_dtypes()
        if memory.owner is self:
            return
        dtypes = memory.owner.row_shape[2], self.backbone.dtype
        if memory.config != self.memory_config:
            # An open one retrieves by the M it was opened with.
            differs = self.memory_config.differs(memory.config) or ["retrieved_tokens"]
            raise mismatch(differs, dtypes=dtypes, sizes=True)
        if memory.owner.fingerprint != self.fingerprint:
            raise mismatch(["weights"], dtypes=dtypes)

    def _check_dtypes(self) -> None:
        dtypes = {self.backbone.dtype, self.weights.memory_embedding.dtype}
        if len(dtypes) > 1:
            names = " and ".join(sorted(str(dtype) for dtype in dtypes))
            raise UsageError(
                f"Parts of this model are in {names}: cast all of it, with model.to(dtype)."
            )

    def reading(self, memory: Memories | None) -> AbstractContextManager[None]:
        """Have the model to oneself, and memories in one whole state each, for a read.

        What is no memory is left to those who check arguments.
        """
        named = memory if isinstance(memory, list | tuple) else [memory]
        return reading(self.backbone.lock, [one for one in named if isinstance(one, Memory)])

    def check_chunk(self, length: int) -> None:
        """Refuse a chunk that needs more positions than there are.

        Raises:
            PositionsError: bos, the newest rows and the chunk do not fit.
        """
        config = self.memory_config
        left = self.positions - int(config.bos) - config.tokens_per_write
        if length > left:
            raise PositionsError(needed=length, available=max(0, left))

    def check_ids(self, ids: Tensor | Sequence[int]) -> None:
        """Refuse token ids that the embedding does not hold.

        Raises:
            UsageError: with the range of those that it holds.
        """
        check_vocabulary(ids, self.vocabulary)

    def prefix_length(self, memory: Memory) -> int:
        """Positions that the prefix of a memory takes now."""
        return prefix_length(memory, bos=self.weights.bos_embedding is not None)

    def context(self, memories: Sequence[Memory | None]) -> Tensor:
        """[B, L, c, d]: what a write of these memories attends to; equal c for all."""
        count = self.memory_config.tokens_per_write
        rows = [None if memory is None else memory.recent(count) for memory in memories]
        none = (len(self.backbone.layers), 0, self.backbone.hidden_size)
        empty = self.weights.memory_embedding.detach().new_empty(none)
        return torch.stack([empty if one is None else one for one in rows])

    def tiles(self, memory: Memory | None) -> bool:
        """Whether the memory's next write fills an empty pool by tiling."""
        empty = memory is None or memory.short_term_rows == 0
        return self.memory_config.first_write == "tile" and empty

    def new_rows(self, hidden: Tensor) -> NewRows:
        """What is kept of the rows [L, k, d] of one write."""
        names = long_term_columns(self.backbone) if self.memory_config.has_long_term else ()
        return NewRows(hidden, project_rows(self.backbone, self.weights, hidden), names)

    def row_bytes(self, rows: RowKind | None = None) -> RowBytes:
        """Bytes that one row takes, all layers together.

        Args:
            rows: how long-term rows are kept; None: as in a new memory.
        """
        layers = len(self.backbone.layers)
        shape = layers, 1, self.backbone.hidden_size
        probe = torch.zeros(shape, dtype=self.backbone.dtype, device=self.device)
        columns = project_rows(self.backbone, self.weights, probe)
        layout = LongTermLayout.of(self.memory_config, layers)
        names = [name for name in long_term_columns(self.backbone) if name in columns]
        kind = rows or self.memory_config.rows
        stored = common = 0
        for layer in range(layers):
            own = layout.of_layer({name: columns[name] for name in names}, layer)
            share = layout.share(layer)
            packed = pack(own, kind, keys=self.memory_config.retrieves_spans, share=share)
            stored += sum(one.nbytes for one in packed.values())
            common += sum(common_bytes(n, one.shape[1:], kind, share) for n, one in own.items())
        counter = 4 if self.memory_config.eviction.kind == "counter" else 0
        return RowBytes(
            short_term=sum(one.nbytes for one in columns.values()) + (8 + 8 + 4) * layers,
            long_term=stored + (8 + 4 + counter) * len(layout.booked),
            recent=probe.element_size() * probe.numel(),
            common=common,
        )

    # Passes -------------------------------------------------------------------------------------

    def write_pass(
        self, input_ids: Tensor, context: Tensor, *, first_of_tiled: bool = False
    ) -> WritePass:
        """One write pass over a batch; arguments as ``passes.write.write_pass`` names them.

        With spans its rows are whole ones (``passes.write.whole_write_pass``).
        """
        rows = self.memory_config.rows_of_write(input_ids.shape[1])
        given = self.backbone, self.weights, input_ids, context, rows
        if self.memory_config.retrieves_spans:
            return whole_write_pass(*given, span=self.memory_config.span_rows)
        return write_pass(*given, first_of_tiled=first_of_tiled)

    def write_rows(self, input_ids: Tensor, context: Tensor) -> Tensor:
        """The rows of one write pass, with gradients where they are on: for training.

        Args:
            input_ids: [B, T], no padding.
            context: [B, L, c, d] newest rows of each memory, c <= K; c may be 0.

        Returns:
            [B, L, K, d]; fewer than K whole spans of a short chunk where spans are retrieved.
        """
        return self.write_pass(input_ids, context).rows

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


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(name, value=value, reason=f"it must be an integer in {low}..{high}")
