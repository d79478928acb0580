"""Reading memories: prompts, caches, generation.

Knows the facade's model and the read pass; the facade calls it.

Shapes: B batch, T tokens, W tokens with tails, L layers, k new rows, d hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from memplus.answers import Watch
from memplus.backbone.session import running
from memplus.backbone.stock import generation_rules, greedy_rules
from memplus.errors import PositionsError, StaleCacheError, UsageError
from memplus.memory.state import Memory
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.prompt import Prompt, assemble
from memplus.passes.read import HiddenPrefix, Prefix, ReadSession

if TYPE_CHECKING:
    from transformers.modeling_outputs import CausalLMOutputWithPast

    from memplus.model import MPlus

__all__ = ["Memories", "Reader", "as_batch"]

Memories = Memory | Sequence[Memory]


class Reader:
    """Reads with the memories of one model; remembers which read a text cache belongs to."""

    def __init__(self, model: MPlus) -> None:
        self._model: weakref.ref[MPlus] = weakref.ref(model)
        self._sessions: weakref.WeakKeyDictionary[Any, tuple[ReadSession, list[int]]]
        self._sessions = weakref.WeakKeyDictionary()

    @property
    def model(self) -> MPlus:
        """Whose memories are read."""
        model = self._model()
        assert model is not None
        return model

    def forward(
        self,
        input_ids: Tensor,
        memory: Memories | None,
        new_rows: Tensor | None,
        attention_mask: Tensor | None,
        options: dict[str, Any],
    ) -> CausalLMOutputWithPast:
        """See ``MPlus.forward``."""
        past_key_values = options.pop("past_key_values", None)
        ids = as_batch(input_ids).to(self.model.device)
        memories = self._per_row(memory, ids.shape[0])
        tails = self._tails(memories, past_key_values)
        prompt = assemble(ids, attention_mask, tails)
        if _length(past_key_values):
            prompt = Prompt(ids, attention_mask, prompt.asked)
        session = self._session(memories, prompt, past_key_values, new_rows)
        self._check_positions(session, prompt, past_key_values, 0)
        if "labels" in options:
            extra = prompt.width - ids.shape[1]
            options["labels"] = nn.functional.pad(options["labels"], (extra, 0), value=-100)
        with self._reading(session, memories, new_rows):
            output = self.model.backbone.model(
                input_ids=prompt.input_ids,
                attention_mask=prompt.attention_mask,
                past_key_values=past_key_values,
                **options,
            )
        self._remember(output.past_key_values, session, memories)
        if output.logits.shape[1] > ids.shape[1]:
            output.logits = output.logits[:, -ids.shape[1] :]
        result: CausalLMOutputWithPast = output
        return result

    def generate(
        self,
        input_ids: Tensor,
        memory: Memories | None,
        attention_mask: Tensor | None,
        options: dict[str, Any],
        watch: Watch | None = None,
    ) -> Any:
        """See ``MPlus.generate``."""
        ids = as_batch(input_ids).to(self.model.device)
        memories = self._per_row(memory, ids.shape[0])
        cache = options.get("past_key_values")
        prompt = assemble(ids, attention_mask, self._tails(memories, cache))
        session = self._session(memories, prompt, cache, None)
        if watch is not None:
            session.watch = watch.on(session.prefix)
        self._check_positions(session, prompt, None, int(options.get("max_new_tokens") or 0))
        mask = prompt.attention_mask
        stock = self.model.backbone.model
        given = options.pop("generation_config", None)
        rules = copy.deepcopy(given or greedy_rules(stock.generation_config))
        # What the rules have no field for (a cache, a streamer) goes on as an argument.
        options = rules.update(disable_compile=True, **options)
        with self._reading(session, memories, None), generation_rules(stock, rules):
            output = stock.generate(
                inputs=prompt.input_ids,
                attention_mask=torch.ones_like(prompt.input_ids) if mask is None else mask,
                **options,
            )
        extra = prompt.width - ids.shape[1]
        if isinstance(output, Tensor):
            return _without_tail(output, ids, prompt.width) if extra else output
        self._remember(output.past_key_values, session, memories)
        if extra:
            output.sequences = _without_tail(output.sequences, ids, prompt.width)
        return output

    def _reading(
        self, session: ReadSession, memories: Sequence[Memory], new_rows: Tensor | None
    ) -> AbstractContextManager[None]:
        adapters = self.model.backbone.adapters
        only_new = not memories and new_rows is not None
        adapter = adapters.writing if only_new else adapters.reading
        return running(self.model.backbone, session, adapter)

    def _session(
        self,
        memories: Sequence[Memory],
        prompt: Prompt,
        cache: Any,
        new_rows: Tensor | None,
    ) -> ReadSession:
        if _length(cache):
            return self._resumed(memories, cache)
        prefix = Prefix()
        if memories:
            prefix = MemoryPrefix(
                self.model.backbone, self.model.weights, memories, prompt.asked, extra=new_rows
            )
        elif new_rows is not None:
            prefix = HiddenPrefix(self.model.backbone, self.model.weights, new_rows[None])
        return ReadSession(self.model.backbone, prefix)

    def _resumed(self, memories: Sequence[Memory], cache: Any) -> ReadSession:
        versions = [memory.version for memory in memories]
        session, known = self._sessions.get(cache, (None, None))
        current = max(versions, default=0)
        if session is None:
            if memories:
                raise StaleCacheError(cached=-1, current=current)
            return ReadSession(self.model.backbone, Prefix())
        if known != versions or not _same(session.prefix, memories):
            raise StaleCacheError(cached=max(known or [0], default=0), current=current)
        return session

    def _remember(self, cache: Any, session: ReadSession, memories: Sequence[Memory]) -> None:
        if cache is not None:
            self._sessions[cache] = (session, [memory.version for memory in memories])

    def _per_row(self, memory: Memories | None, batch: int) -> list[Memory]:
        if memory is None:
            return []
        memories = [memory] * batch if isinstance(memory, Memory) else list(memory)
        if len(memories) != batch:
            raise UsageError(f"{len(memories)} memories were given for {batch} prompts.")
        for one in memories:
            self.model.check_owner(one)
        return memories

    def _tails(self, memories: Sequence[Memory], cache: Any) -> list[list[int]]:
        if _length(cache) or not memories:
            return [[]]
        return [memory.tail for memory in memories]

    def _check_positions(
        self, session: ReadSession, prompt: Prompt, cache: Any, new_tokens: int
    ) -> None:
        start = int(session.prefix.shift(torch.device("cpu")).max())
        needed = start + _length(cache) + prompt.width + new_tokens
        if needed > self.model.positions:
            available = max(0, self.model.positions - start)
            raise PositionsError(needed=needed - start, available=available)


def as_batch(ids: Tensor) -> Tensor:
    """[T] or [B, T] ids as [B, T] int64.

    Raises:
        UsageError: another shape, or no tokens.
    """
    if ids.dim() == 1:
        ids = ids[None]
    if ids.dim() != 2 or ids.shape[1] == 0:
        raise UsageError(f"Token ids must be [T] or [B, T] with T >= 1, not {list(ids.shape)}.")
    return ids.long()


def _length(cache: Any) -> int:
    return 0 if cache is None else int(cache.get_seq_length())


def _same(prefix: Prefix, memories: Sequence[Memory]) -> bool:
    if not isinstance(prefix, MemoryPrefix):
        return not memories
    held = prefix.memories
    return len(held) == len(memories) and all(a is b for a, b in zip(held, memories, strict=True))


def _without_tail(sequences: Tensor, ids: Tensor, width: int) -> Tensor:
    times = sequences.shape[0] // ids.shape[0]
    return torch.cat([ids.repeat_interleave(times, dim=0), sequences[:, width:]], dim=1)
