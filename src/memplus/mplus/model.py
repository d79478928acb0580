"""``MPlus``: weights, and what can be done to memories with them.

The model is stateless; a memory is a value. Whatever changes a memory is a method here that takes
the memory, or a batch of them; the model keeps nothing of a memory.

Shapes: B batch, T tokens, L layers, K new rows, d hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from memplus.memory.packing import RowKind
from memplus.memory.records import NewRows, Passage
from memplus.memory.state import Memory
from memplus.mplus.arguments import Memories, as_chunk, check_memory
from memplus.mplus.asking import Answer
from memplus.mplus.evidence import Retrieved
from memplus.mplus.pretrained import Pretrained
from memplus.mplus.streaming import Stream
from memplus.mplus.writer import Receipt, Text

if TYPE_CHECKING:
    from memplus.backbone.stock_types import (
        CausalLMOutputWithPast,
    )

__all__ = ["MPlus"]


class MPlus(Pretrained):
    """A stock decoder with a long memory (M+, arXiv 2502.00592).

    Made by ``from_pretrained`` or ``from_backbone``. Thread-safe: passes on one model take turns.
    ``copy.deepcopy`` and pickling copy the weights too.
    """

    # Writing ------------------------------------------------------------------------------------

    @property
    def row_shape(self) -> tuple[int, int, torch.dtype]:
        """Layers L, hidden size d and dtype of the hidden vectors that a write makes."""
        return self.core.row_shape

    @property
    def vocabulary(self) -> int:
        """Token ids lie below it."""
        return self.core.vocabulary

    def new_memory(
        self, seed: int = 0, *, max_bytes: int | None = None, rows: RowKind | None = None
    ) -> Memory:
        """A pristine memory.

        Args:
            seed: of the generator that decides what is dropped.
            max_bytes: refuse writes that would make the memory larger; None: no limit.
            rows: how long-term rows are kept: as computed (``exact``), in 8 bits (``int8``), in 4
                (``int4``) or in 2 (``int2``); None: as the memory config says.

        Raises:
            UsageError: the stock model was cast by itself, so pristine rows do not fit it.
            ConfigError: ``seed`` or ``max_bytes`` is no such number, or ``rows`` no such way.
        """
        return self.core.new_memory(seed, max_bytes=max_bytes, rows=rows)

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
            UsageError: what was given is no memory, no text and no token ids, or not one text for
                each memory.
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
            UsageError: it is no single chunk, or ``drop`` does not fit.
        """
        check_memory(memory, input_ids)
        self._writer.chunk(memory, as_chunk(input_ids), drop)

    def compress(self, memory: Memory | None, input_ids: Tensor) -> Tensor:
        """The rows that a write of this chunk would make; the memory stays as it is.

        Keeps the graph: ``model(ids, memory=memory, new_rows=rows)`` reads them.

        Args:
            memory: whose newest rows the chunk attends to; None: none.
            input_ids: [T] or [1, T].

        Returns:
            [L, K, d] (fewer rows where memory and chunk together have fewer than K).

        Raises:
            UsageError: it is no single chunk.
        """
        if memory is not None:
            check_memory(memory, input_ids)
        core, ids = self.core, as_chunk(input_ids)
        core.check_ids(ids)
        core.check_chunk(ids.shape[1])
        ids = ids.to(self.device)
        with core.reading(memory):
            if memory is not None:
                core.check_owner(memory)
            tiled = core.tiles(memory)
            return core.write_pass(ids, core.context([memory]), first_of_tiled=tiled).rows[0]

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
            memory: one for all rows, or one per row; None reads without memory. Under frequencies
                that depend on the length (dynamic, longrope) those of the longest row hold for all.
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
        asking_tokens: int | None = None,
        **options: Any,
    ) -> Any:
        """The stock ``generate`` with memory; greedy unless asked otherwise.

        Args:
            input_ids: [T], [1, T] or [B, T], padded on the left.
            memory: one for all rows, or one per row; under frequencies that depend on the length
                see ``forward``. ``ask`` reads each question as if it were alone.
            attention_mask: [B, T].
            asking_tokens: only so many last tokens of each prompt ask the long-term memory, such
                as the last message of a conversation; all of it does by default.
            options: those of the stock ``generate``, which sees the caller's tokens alone, never
                those of a tail. With ``past_key_values`` of an earlier call, ``input_ids`` holds
                the whole conversation so far. ``mplus.generation`` lists what is not served.

        Returns:
            [B, T + new tokens] ids, the caller's input first; or the stock output object.

        Raises:
            PositionsError, StaleCacheError, MemoryMismatchError.
            ConfigError: less than one new token, or less than one that asks.
            UsageError: what would not be right is refused by name, before anything runs.
        """
        with self.core.reading(memory):
            asking = {} if asking_tokens is None else {"asking_tokens": asking_tokens}
            return self._reader.generate(input_ids, memory, attention_mask, options | asking)

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
