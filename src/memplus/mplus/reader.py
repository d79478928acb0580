"""Reading memories: prompts, caches, generation.

Stands on the core and the read pass; the facade calls it.

Shapes: B batch, T tokens, W tokens with tails, L layers, k new rows, d hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from memplus.backbone.session import running
from memplus.backbone.stock import forward_arguments, rules_of, under_rules
from memplus.errors import UsageError
from memplus.memory.state import Memory
from memplus.mplus.arguments import (
    Memories,
    Text,
    as_text,
    cached_tokens,
    check_count,
    check_frequencies,
    check_labels,
    check_positions,
    check_room,
    per_row,
)
from memplus.mplus.cached_reads import CachedRead, CachedReads
from memplus.mplus.core import Core
from memplus.mplus.generation import (
    Reading,
    adjust,
    check_arguments,
    check_attentions,
    check_rules,
    new_tokens,
)
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.prompt import Prompt, asked_by_last, assemble
from memplus.passes.read import AttentionWatch, HiddenPrefix, Prefix, ReadSession
from memplus.passes.span_queries import span_queries
from memplus.passes.tails import Tails

if TYPE_CHECKING:
    from memplus.backbone.stock_types import CausalLMOutputWithPast

__all__ = ["Reader", "Watcher"]


class Watcher(Protocol):
    """Looks at a read while it happens."""

    def on(self, prefix: Prefix) -> AttentionWatch | None:
        """Look at the read of this prefix; what it returns is called with every attention call."""
        ...


class Reader:
    """Reads with the memories of one model; remembers which read a text cache belongs to."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._cached = CachedReads()

    def forward(
        self,
        input_ids: Tensor | None,
        memory: Memories | None,
        new_rows: Tensor | None,
        attention_mask: Tensor | None,
        options: dict[str, Any],
    ) -> CausalLMOutputWithPast:
        """See ``MPlus.forward``."""
        backbone = self.core.backbone
        self._check_forward(options, input_ids)
        cache, embeds = options.pop("past_key_values", None), options.pop("inputs_embeds", None)
        text = as_text(backbone, input_ids, attention_mask, embeds)
        memories = self._per_row(memory, text.ids.shape[0])
        past = cached_tokens(cache)
        earlier = self._cached.of(cache, memories) if past else None
        tails = _tails(memories)
        prompt = _continued(text, earlier, past) if past else assemble(text.ids, text.mask, tails)
        session = self._session(earlier, memories, prompt, new_rows)
        self._check_positions(session, past + prompt.width)
        self._check_frequencies(session, prompt, past, past + prompt.width)
        check_room(cache, past + prompt.width)
        if options.get("labels") is not None:
            vocabulary = int(backbone.embedding.num_embeddings)
            labels = check_labels(options["labels"], text.ids, vocabulary)
            options["labels"] = _own_labels(labels, prompt)
        as_object = options.pop("return_dict", None) is not False
        with self._reading(session, text, new_rows):
            output = backbone.model(
                attention_mask=prompt.attention_mask,
                past_key_values=cache,
                **text.inputs,
                **options,
            )
        self._cached.remember(output.past_key_values, session, prompt.attention_mask)
        result: CausalLMOutputWithPast = output if as_object else output.to_tuple()
        return result

    def generate(
        self,
        input_ids: Tensor | None,
        memory: Memories | None,
        attention_mask: Tensor | None,
        options: dict[str, Any],
        watch: Watcher | None = None,
    ) -> Any:
        """See ``MPlus.generate``; ``options`` holds ``asking_tokens`` where it is given."""
        stock = self.core.backbone.model
        options = dict(options)
        asking = options.pop("asking_tokens", None)
        if options.get("max_new_tokens") is not None:
            check_count("max_new_tokens", options["max_new_tokens"])
        rules, options = rules_of(stock, options.pop("generation_config", None), options)
        check_arguments(options, memory=memory is not None)
        if rules.stop_strings is not None and options.get("tokenizer") is None:
            options["tokenizer"] = self.core.optional_tokenizer
        cache = options.get("past_key_values")
        embeds = options.pop("inputs_embeds", None)
        text = as_text(self.core.backbone, input_ids, attention_mask, embeds)
        memories = self._per_row(memory, text.ids.shape[0])
        earlier = self._cached.of(cache, memories) if cached_tokens(cache) else None
        # With a cache the ids are the whole conversation, and the tail is its beginning.
        prompt = assemble(text.ids, text.mask, _tails(memories))
        if asking is not None:
            check_count("asking_tokens", asking)
            prompt = asked_by_last(prompt, asking)
        reading = self._described(text, memories, prompt, options)
        check_rules(rules, options, reading)
        adjust(rules, reading)
        session = self._session(earlier, memories, prompt)
        needed = prompt.width + new_tokens(rules, text.tokens)
        self._check_positions(session, needed)
        self._check_frequencies(session, prompt, reading.cached or prompt.width, needed - 1)
        check_room(cache, needed - 1)
        if earlier is not None and session.tails is not None:
            session.tails.resume(text.ids)
        if watch is not None:
            session.watch = watch.on(session.prefix)
        if text.embeds is not None:
            options["inputs_embeds"] = text.embeds
        options["inputs"] = text.ids if text.has_ids else None
        options["attention_mask"] = torch.ones_like(text.ids) if text.mask is None else text.mask
        with self._reading(session, text):
            output = _generated(under_rules(stock, rules), session, options)
        if not isinstance(output, Tensor):
            searched = (rules.num_beams or 1) > 1
            mask = prompt.attention_mask
            self._cached.remember(output.past_key_values, session, mask, searched=searched)
        return output

    @torch.no_grad()
    def prefill(self, ids: Tensor, memory: Memory) -> MemoryPrefix:
        """What a prompt [1, T] retrieves from a memory, layer by layer."""
        backbone = self.core.backbone
        text = as_text(backbone, ids, None)
        memories = self._per_row(memory, 1)
        prompt = assemble(text.ids, None, _tails(memories))
        session = self._session(None, memories, prompt)
        self._check_positions(session, prompt.width)
        with self._reading(session, text):
            backbone.decoder(input_ids=text.ids, use_cache=False)
        assert isinstance(session.prefix, MemoryPrefix)
        return session.prefix

    @contextmanager
    def _reading(
        self, session: ReadSession, text: Text, new_rows: Tensor | None = None
    ) -> Iterator[None]:
        """The pass that reads a text in a session, which may have read others before it."""
        adapters = self.core.backbone.adapters
        only_new = new_rows is not None and not isinstance(session.prefix, MemoryPrefix)
        adapter = adapters.writing if only_new else adapters.reading
        with self.core.backbone.lock:
            if not session.prefilled:
                self._retrieve_spans(session.prefix, text)
            with running(self.core.backbone, session, adapter):
                yield

    def _session(
        self,
        earlier: CachedRead | None,
        memories: Sequence[Memory],
        prompt: Prompt,
        new_rows: Tensor | None = None,
    ) -> ReadSession:
        backbone, weights = self.core.backbone, self.core.weights
        if earlier is not None:
            if prompt.tail is not None:
                earlier.session.tails = self._tails_of(prompt)
            return earlier.session
        prefix = Prefix()
        if memories:
            prefix = MemoryPrefix(backbone, weights, memories, prompt.asked, extra=new_rows)
        elif new_rows is not None:
            prefix = HiddenPrefix(backbone, weights, new_rows[None])
        return ReadSession(backbone, prefix, self._tails_of(prompt))

    def _retrieve_spans(self, prefix: Prefix, text: Text) -> None:
        """Where spans are retrieved and any memory has stored some, choose those of a new read."""
        core = self.core
        if not isinstance(prefix, MemoryPrefix) or not core.memory_config.retrieves_spans:
            return
        if any(memory.long_term is not None for memory in prefix.memories):
            given = text.ids if text.embeds is None else text.embeds
            asked = prefix.prompt[:, -text.tokens :]
            prefix.retrieve_spans(span_queries(core.backbone, core.weights, given, asked))

    def _tails_of(self, prompt: Prompt) -> Tails | None:
        return None if prompt.tail is None else Tails(prompt, self.core.backbone.embedding)

    def _per_row(self, memory: Memories | None, batch: int) -> list[Memory]:
        memories = per_row(memory, batch)
        for one in {id(memory): memory for memory in memories}.values():
            self.core.check_owner(one)
        return memories

    def _described(
        self, text: Text, memories: Sequence[Memory], prompt: Prompt, options: dict[str, Any]
    ) -> Reading:
        backbone = self.core.backbone
        assistant = options.get("assistant_model")
        if assistant is not None and not hasattr(assistant, "get_decoder"):
            found = type(assistant).__name__
            raise UsageError(f"assistant_model must be a model of transformers, not {found}.")
        return Reading(
            batch=int(text.ids.shape[0]),
            tokens=text.tokens,
            cached=cached_tokens(options.get("past_key_values")),
            extra=prompt.extra,
            memory=bool(memories),
            tail=prompt.tail is not None,
            retrieves=any(memory.long_term_rows for memory in memories),
            embedded=text.embeds is not None,
            cuda=backbone.device.type == "cuda",
            self_drafting=assistant is not None and assistant.get_decoder() is backbone.decoder,
            eager=backbone.attention_implementation == "eager",
        )

    def _check_forward(self, options: dict[str, Any], input_ids: Any) -> None:
        backbone = self.core.backbone
        unknown = options.keys() - forward_arguments(backbone.model)
        if unknown:
            raise UsageError(f"The model has no argument {min(unknown)!r}. Is it misspelt?")
        if input_ids is not None and options.get("inputs_embeds") is not None:
            raise UsageError("Give input_ids or inputs_embeds, not both.")
        if options.get("output_attentions"):
            check_attentions(eager=backbone.attention_implementation == "eager")

    def _check_frequencies(
        self, session: ReadSession, prompt: Prompt, begun: int, tokens: int
    ) -> None:
        """Refuse a text of ``tokens`` columns, padding among them, if the frequencies of any row
        change after its first ``begun`` are read.

        Without a prefix the stock code reads the text anew.
        """
        rope = self.core.backbone.rope
        if not (begun and rope.changing):
            return
        there = prompt.attention_mask
        starts = session.prefix.shift(torch.device("cpu")).expand(len(prompt.input_ids))
        for row, start in enumerate(starts.tolist()):
            # Padding takes no positions.
            own = [1] * begun if there is None else there[row].tolist()
            first, blank = sum(own[:begun]), len(own) - sum(own)
            if start and first:
                check_frequencies(rope, start, first, tokens - blank)

    def _check_positions(self, session: ReadSession, tokens: int) -> None:
        start = int(session.prefix.shift(torch.device("cpu")).max())
        check_positions(self.core.backbone.rope, start, tokens)


def _generated(stock: Any, session: ReadSession, options: dict[str, Any]) -> Any:
    """What the stock model generates; what the library refuses before any pass has a name here."""
    try:
        return stock.generate(**options)
    except ValueError as error:
        if session.prefilled:
            raise
        raise UsageError(f"The library refuses to generate so: {error}") from error


def _tails(memories: Sequence[Memory]) -> list[list[int]]:
    return [memory.tail for memory in memories] or [[]]


def _continued(text: Text, earlier: CachedRead | None, past: int) -> Prompt:
    """New tokens after a cache: what was padding there still is."""
    asked = torch.ones_like(text.ids, dtype=torch.bool)
    before = None if earlier is None else earlier.past_mask(past)
    given = text.mask
    if given is not None:
        own = text.tokens, past + text.tokens
        extra = (
            0 if earlier is None or earlier.session.tails is None else earlier.session.tails.extra
        )
        if given.shape[1] not in (*own, own[1] - extra):
            raise UsageError(
                f"attention_mask has shape {list(given.shape)}; after a cache it covers the "
                f"{own[0]} new tokens, or those before them too."
            )
        given = given[:, -text.tokens :]
        given = None if bool(given.all()) else given
    if before is None and given is None:
        return Prompt(text.ids, None, asked)
    before = text.ids.new_ones((len(text.ids), past)) if before is None else before
    given = torch.ones_like(text.ids) if given is None else given
    return Prompt(text.ids, torch.cat([before, given], dim=1), asked)


def _own_labels(labels: Tensor, prompt: Prompt) -> Tensor:
    """Labels [B, T] without those of padding and of a row's first token: nothing precedes it."""
    own = prompt.asked[:, -labels.shape[1] :]
    follows = nn.functional.pad(own[:, :-1], (1, 0), value=False)
    return labels.masked_fill(~(own & follows), -100)
