"""Reading memories: prompts, caches, generation.

Knows the facade's model and the read pass; the facade calls it.

Shapes: B batch, T tokens, W tokens with tails, L layers, k new rows, d hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from memplus.backbone.session import running
from memplus.backbone.stock import greedy_rules, under_rules
from memplus.errors import PositionsError, StaleCacheError, UsageError
from memplus.memory.state import Memory
from memplus.mplus.asking import Seen, Watch
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.prompt import Prompt, assemble
from memplus.passes.read import HiddenPrefix, Prefix, ReadSession

if TYPE_CHECKING:
    from memplus.backbone.stock_types import CausalLMOutputWithPast
    from memplus.mplus.model import MPlus

__all__ = ["Memories", "Reader", "as_batch"]

Memories = Memory | Sequence[Memory]


@dataclass
class _Turn:
    """What a text cache was built on."""

    session: ReadSession
    versions: list[int]
    """Of the memories, then."""
    mask: Tensor | None
    """[B, tokens so far]: 0 where the cache holds padding; None where it holds none."""


class Reader:
    """Reads with the memories of one model; remembers which read a text cache belongs to."""

    def __init__(self, model: MPlus) -> None:
        self._model: weakref.ref[MPlus] = weakref.ref(model)
        self._turns: weakref.WeakKeyDictionary[Any, _Turn] = weakref.WeakKeyDictionary()

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
        if _length(past_key_values):
            prompt = self._continued(ids, attention_mask, past_key_values)
        else:
            prompt = assemble(ids, attention_mask, _tails(memories))
        session = self._session(memories, prompt, past_key_values, new_rows)
        self._check_positions(session, prompt, past_key_values, 0)
        if options.get("labels") is not None:
            options["labels"] = _labels(as_batch(options["labels"]), prompt)
        with self._reading(session, memories, new_rows):
            output = self.model.backbone.model(
                input_ids=prompt.input_ids,
                attention_mask=prompt.attention_mask,
                past_key_values=past_key_values,
                **options,
            )
        self._remember(output.past_key_values, session, memories, prompt.attention_mask)
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
        watch: Watch | Seen | None = None,
    ) -> Any:
        """See ``MPlus.generate``."""
        ids = as_batch(input_ids).to(self.model.device)
        memories = self._per_row(memory, ids.shape[0])
        cache = options.get("past_key_values")
        # With a cache the ids are the whole conversation, and the tail is its beginning.
        prompt = assemble(ids, attention_mask, _tails(memories))
        session = self._session(memories, prompt, cache, None)
        if watch is not None:
            session.watch = watch.on(session.prefix)
        mask = prompt.attention_mask
        stock = self.model.backbone.model
        given = options.pop("generation_config", None)
        rules = copy.deepcopy(given or greedy_rules(stock.generation_config))
        # What the rules have no field for (a cache, a streamer) goes on as an argument.
        options = rules.update(disable_compile=True, **options)
        _count_tail(rules, prompt.width - ids.shape[1])
        self._check_positions(session, prompt, None, _new_tokens(rules, prompt.width))
        if "streamer" in options and prompt.input_ids is not ids:
            options["streamer"] = _CallersStream(options["streamer"], ids)
        with self._reading(session, memories, None):
            output = under_rules(stock, rules).generate(
                inputs=prompt.input_ids,
                attention_mask=torch.ones_like(prompt.input_ids) if mask is None else mask,
                **options,
            )
        # A tail may also stand where the caller's padding was.
        changed = prompt.input_ids is not ids
        if isinstance(output, Tensor):
            return _without_tail(output, ids, prompt.width) if changed else output
        self._remember(output.past_key_values, session, memories, prompt.attention_mask)
        if changed:
            output.sequences = _without_tail(output.sequences, ids, prompt.width)
        return output

    @torch.no_grad()
    def prefill(self, ids: Tensor, memory: Memory) -> MemoryPrefix:
        """What a prompt [1, T] retrieves from a memory, layer by layer."""
        memories = self._per_row(memory, 1)
        prompt = assemble(as_batch(ids).to(self.model.device), None, _tails(memories))
        prefix = MemoryPrefix(self.model.backbone, self.model.weights, memories, prompt.asked)
        session = ReadSession(self.model.backbone, prefix)
        self._check_positions(session, prompt, None, 0)
        with self._reading(session, memories, None):
            self.model.backbone.decoder(input_ids=prompt.input_ids, use_cache=False)
        return prefix

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
        turn = self._turns.get(cache)
        current = max(versions, default=0)
        if turn is None:
            if memories:
                raise StaleCacheError(cached=-1, current=current)
            return ReadSession(self.model.backbone, Prefix())
        if turn.versions != versions or not _same(turn.session.prefix, memories):
            raise StaleCacheError(cached=max(turn.versions, default=0), current=current)
        return turn.session

    def _continued(self, ids: Tensor, attention_mask: Tensor | None, cache: Any) -> Prompt:
        """New tokens after a cache: what was padding there still is."""
        asked = torch.ones_like(ids, dtype=torch.bool)
        turn = self._turns.get(cache)
        if turn is None or turn.mask is None:
            return Prompt(ids, attention_mask, asked)
        new = torch.ones_like(ids) if attention_mask is None else attention_mask
        past = _extended(turn.mask, _length(cache))
        return Prompt(ids, torch.cat([past, new[:, -ids.shape[1] :]], dim=1), asked)

    def _remember(
        self, cache: Any, session: ReadSession, memories: Sequence[Memory], mask: Tensor | None
    ) -> None:
        if cache is not None:
            versions = [memory.version for memory in memories]
            self._turns[cache] = _Turn(session, versions, mask)

    def _per_row(self, memory: Memories | None, batch: int) -> list[Memory]:
        if memory is None:
            return []
        memories = [memory] * batch if isinstance(memory, Memory) else list(memory)
        if len(memories) != batch:
            raise UsageError(f"{len(memories)} memories were given for {batch} prompts.")
        for one in memories:
            self.model.check_owner(one)
        return memories

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


def _tails(memories: Sequence[Memory]) -> list[list[int]]:
    return [memory.tail for memory in memories] or [[]]


def _labels(labels: Tensor, prompt: Prompt) -> Tensor:
    """Labels [B, T] for the whole width: a row's first token has nothing of its own before it."""
    wide = nn.functional.pad(labels, (prompt.width - labels.shape[1], 0), value=-100)
    follows = nn.functional.pad(prompt.asked[:, :-1], (1, 0), value=False)
    counted = prompt.asked & follows
    return wide.to(counted.device).masked_fill(~counted, -100)


def _count_tail(rules: Any, extra: int) -> None:
    """The caller counts its own tokens; the stock code counts the tail too."""
    for name in ("max_length", "min_length"):
        if getattr(rules, name, None):
            setattr(rules, name, getattr(rules, name) + extra)


def _new_tokens(rules: Any, width: int) -> int:
    """Most tokens that generation by these rules can add to a prompt of this width."""
    if rules.max_new_tokens is not None:
        return int(rules.max_new_tokens)
    return 0 if rules.max_length is None else max(0, int(rules.max_length) - width)


class _CallersStream:
    """A streamer that hears the caller's input where the model saw a tail before it."""

    def __init__(self, streamer: Any, ids: Tensor) -> None:
        self._streamer = streamer
        self._input: Tensor | None = ids.cpu()

    def put(self, value: Tensor) -> None:
        """Pass on new tokens [B]; the prompt, which comes first, as the caller gave it."""
        self._streamer.put(value if self._input is None else self._input)
        self._input = None

    def end(self) -> None:
        """Nothing more will come."""
        self._streamer.end()


def _extended(mask: Tensor, length: int) -> Tensor:
    """A mask [B, W] for the first ``length`` tokens: generated ones are no padding."""
    return nn.functional.pad(mask, (0, max(0, length - mask.shape[1])), value=1)[:, :length]


def _same(prefix: Prefix, memories: Sequence[Memory]) -> bool:
    if not isinstance(prefix, MemoryPrefix):
        return not memories
    held = prefix.memories
    return len(held) == len(memories) and all(a is b for a, b in zip(held, memories, strict=True))


def _without_tail(sequences: Tensor, ids: Tensor, width: int) -> Tensor:
    times = sequences.shape[0] // ids.shape[0]
    return torch.cat([ids.repeat_interleave(times, dim=0), sequences[:, width:]], dim=1)
