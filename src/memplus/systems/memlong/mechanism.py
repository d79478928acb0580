"""MemLong on a stock decoder: the frozen half writes, the tuned half reads (2408.16967).

A segment's keys and values of the memory layer are kept by chunks. A text that is read finds the
chunks that fit it best as the memory layer begins, and the retrieval layers attend to them. Trained
are low-rank updates of the attention above the memory layer, the norms there, and the gates where
there are any; so what is written never ages.

Shapes: B rows, T tokens, d hidden size, G key/value heads, D head width, H heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.layer_states import Text, layer_states
from memplus.backbone.lora import Lora, LoraSizes, under
from memplus.backbone.norms import Norms
from memplus.backbone.session import running
from memplus.backbone.text_cache import TextCache
from memplus.config import require
from memplus.systems.latent.mechanism import Decoding, Mechanism
from memplus.systems.memlong.bank import Bank, Piece, Room, chunk_lengths
from memplus.systems.memlong.decoding import MemLongDecoding
from memplus.systems.memlong.embedders import Embedder, HiddenMeans
from memplus.systems.memlong.gates import Gating
from memplus.systems.memlong.lookup import Found, best_chunks, gathered
from memplus.systems.memlong.options import MemLongOptions
from memplus.systems.memlong.reading import Reading
from memplus.systems.memlong.state import MemLongState

__all__ = ["MemLong"]

Spans = Sequence[tuple[int, int]]
"""Of each row, the first token of what the memory is looked through for and the one behind its
last; empty: the text before counts."""


class MemLong(Mechanism[MemLongState]):
    """See the module.

    Args:
        backbone: the decoder.
        options: sizes and rules.
        embedder: how chunks are found; None: by means of the frozen layers' states.

    Raises:
        ConfigError: the decoder has no such layers, or too few positions, or cannot serve a rule.
    """

    def __init__(
        self, backbone: Backbone, options: MemLongOptions, embedder: Embedder | None = None
    ) -> None:
        super().__init__(backbone)
        self.options = options
        self.places = options.places(len(backbone.layers))
        self.segment_tokens, self.longest = options.segment, options.local
        self.embedder = embedder or HiddenMeans(backbone.hidden_size)
        self._room = Room(options.bank, options.eviction)
        _check(backbone, options)
        above = self.places.memory + 1
        self.lora: Lora | None = None
        if above < len(backbone.layers):
            sizes = LoraSizes(options.rank, options.alpha, _attention_linears(backbone))
            self.lora = Lora(backbone, sizes, first_layer=above)
        self.norms = Norms(backbone, above)
        heads = int(backbone.config.num_attention_heads)
        gated = self.places.retrieval if options.gate != "none" else ()
        self.gates = nn.ParameterDict(
            {
                str(layer): nn.Parameter(torch.zeros(heads, device=backbone.device))
                for layer in gated
            }
        )

    def empty(self, rows: int) -> MemLongState:
        """See ``Mechanism.empty``."""
        return MemLongState(tuple(self._empty_bank() for _ in range(rows)))

    def _empty_bank(self) -> Bank:
        like = torch.zeros(
            0,
            self.backbone.kv_heads,
            self.backbone.head_dim,
            dtype=self.backbone.dtype,
            device=self.backbone.device,
        )
        return Bank.empty(like, self.embedder.width, words=self.embedder.words)

    def restored(self, tensors: Mapping[str, Tensor]) -> MemLongState:
        """See ``Mechanism.restored``."""
        state = MemLongState.restored(self._empty_bank(), tensors)
        for bank in state.banks:
            rows, most = len(bank.rows), self.options.bank
            if rows > most:
                raise ValueError(f"keys hold {rows} tokens, more than {most}")
            if self.embedder.words:
                ids = torch.cat([bank.rows["ids"], bank.before])
                known = int(self.backbone.embedding.num_embeddings)
                if bool(((ids < 0) | (ids >= known)).any()):
                    raise ValueError(f"ids hold some that are not below {known}")
        return state

    # Writing ------------------------------------------------------------------------------------

    def write(self, state: MemLongState, ids: Tensor) -> MemLongState:
        """See ``Mechanism.write``: only the layers below the memory layer run."""
        place = self.places.memory
        hidden = layer_states(self.backbone, ids, (place,)).at[place]
        if self.options.count:
            spans = self._running_text(ids)
            state = state.counted(self._best(state, ids, spans, hidden, first=[0] * len(ids)))
        return self._taken_in(state, ids, hidden)

    def read_and_write(self, state: MemLongState, ids: Tensor) -> tuple[Tensor, MemLongState]:
        """See ``Mechanism.read_and_write``."""
        reading = self._reading(state, ids, self._running_text(ids), None)
        read = self._pass(reading, ids, *self._layout(state, ids, None))
        if self.options.count and reading.found is not None:
            state = state.counted(reading.found.chunks)
        if reading.hidden is None:
            raise AssertionError("a decoder runs all its layers")
        return read, self._taken_in(state, ids, reading.hidden)

    def _running_text(self, ids: Tensor) -> Spans:
        """What running text is looked up by: all of itself, or nothing of it."""
        length = ids.shape[1] if self.options.query == "own" else 0
        return [(0, length)] * len(ids)

    @torch.no_grad()
    def _taken_in(self, state: MemLongState, ids: Tensor, hidden: Tensor) -> MemLongState:
        """The state with a segment kept.

        Args:
            state: before it.
            ids: [B, T].
            hidden: [B, T, d] what the memory layer gets.
        """
        with under(self.backbone, None):
            keys, values = self.backbone.layers[self.places.memory].project(hidden)
        lengths = chunk_lengths(ids.shape[1], self.options.chunk)
        banks = []
        for row, bank in enumerate(state.banks):
            piece = Piece(
                keys[row],
                values[row],
                ids[row].int(),
                self.embedder.chunks(hidden[row], ids[row], lengths),
                self.embedder.query(hidden[row], ids[row], opening=True),
                lengths,
            )
            banks.append(bank.put(piece, self._room))
        return MemLongState(tuple(banks))

    # Reading ------------------------------------------------------------------------------------

    def read(self, state: MemLongState, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        """See ``Mechanism.read``: the memory is looked through for all of the tokens."""
        return self._pass(
            self._reading(state, ids, _whole(ids, pad), pad), ids, *self._layout(state, ids, pad)
        )

    def read_about(
        self, state: MemLongState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> Tensor:
        """See ``Mechanism.read_about``."""
        reading = self._reading(state, ids, _pairs(about), pad)
        return self._pass(reading, ids, *self._layout(state, ids, pad))

    def retrieved(
        self, state: MemLongState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> list[list[int]]:
        """The chunks of each row that ``read_about`` reads with, the best first.

        Only the layers below the memory layer run, as in a write.

        Args:
            state: stays as it is; nothing is counted.
            ids: [B, T].
            about: [B, 2] as for ``read_about``.
            pad: [B] padding at the left; None: there is none.
        """
        place = self.places.memory
        text = Text(*self._layout(state, ids, pad))
        hidden = layer_states(self.backbone, ids, (place,), text=text).at[place]
        first = [0] * len(ids) if pad is None else [int(one) for one in pad]
        return self._best(state, ids, _pairs(about), hidden, first=first)

    def begin(self, state: MemLongState, ids: Tensor, pad: Tensor | None = None) -> Decoding:
        """See ``Mechanism.begin``: the memory is looked through for all of the tokens, once."""
        return self._begin(state, ids, _whole(ids, pad), pad)

    def begin_about(
        self, state: MemLongState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> Decoding:
        """See ``Mechanism.begin_about``."""
        return self._begin(state, ids, _pairs(about), pad)

    def _begin(
        self, state: MemLongState, ids: Tensor, spans: Spans, pad: Tensor | None
    ) -> Decoding:
        reading = self._reading(state, ids, spans, pad)
        cache: Any = TextCache().begun(0)
        run = partial(self._pass, reading, cache=cache)
        return MemLongDecoding(reading, state.banks, run, ids, *self._layout(state, ids, pad))

    def _layout(
        self, state: MemLongState, ids: Tensor, pad: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mask and positions [B, T]. Where something is read it stands at 0, and the text from 1.

        A row that reads nothing begins at 0 as in the decoder alone, to the same bits, whatever
        the rows beside it read.
        """
        rows, length = ids.shape
        place = torch.arange(length, device=ids.device).expand(rows, -1)
        if pad is not None:
            place = place - pad[:, None]
        shifts = self.options.top_k > 0 and self.options.positions == "zero"
        shift = [int(shifts and len(bank) > 0) for bank in state.banks]
        there, place = (place >= 0).long(), place.clamp(min=0)
        return there, place + torch.tensor(shift, device=ids.device)[:, None]

    def _reading(
        self, state: MemLongState, ids: Tensor, spans: Spans, pad: Tensor | None
    ) -> Reading:
        first = [0] * len(ids) if pad is None else [int(one) for one in pad]

        def find(hidden: Tensor) -> Found | None:
            return gathered(state.banks, self._best(state, ids, spans, hidden, first=first))

        on_scores = self.options.gate == "scores"
        gates = {int(layer): Gating(one, on_scores) for layer, one in self.gates.items()}
        return Reading(self.backbone, self.places, find, self.options.positions, gates)

    @torch.no_grad()
    def _best(
        self,
        state: MemLongState,
        ids: Tensor,
        spans: Spans,
        hidden: Tensor,
        *,
        first: Sequence[int],
    ) -> list[list[int]]:
        """The chunks of each row that fit best, the best first.

        Args:
            state: whose banks are looked through.
            ids: [B, T].
            spans: what for.
            hidden: [B, T, d] what the memory layer gets.
            first: the first token of each row that is no padding.
        """
        chosen = []
        for row, (bank, (start, end)) in enumerate(zip(state.banks, spans, strict=True)):
            query = bank.before
            if start < end and len(bank):
                part = slice(start, end)
                opening = start == first[row]
                query = self.embedder.query(hidden[row, part], ids[row, part], opening=opening)
            chosen.append(best_chunks(bank, self.embedder, query, self.options.top_k))
        return chosen

    def _pass(
        self,
        reading: Reading,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: Any = None,
    ) -> Tensor:
        """[B, T, d] after the final norm."""
        arguments = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        if cache is not None:
            arguments["past_key_values"] = cache
        with self._under(reading):
            output = self.backbone.decoder(**arguments, use_cache=cache is not None)
        hidden: Tensor = output.last_hidden_state
        return hidden

    @contextlib.contextmanager
    def _under(self, reading: Reading) -> Iterator[None]:
        """Run passes under the trained parts."""
        with (
            under(self.backbone, self.lora),
            self.norms.standing_in(self.backbone),
            running(self.backbone, reading, None),
        ):
            yield


def _whole(ids: Tensor, pad: Tensor | None) -> Spans:
    first = [0] * len(ids) if pad is None else [int(one) for one in pad]
    return [(start, ids.shape[1]) for start in first]


def _pairs(about: Tensor) -> Spans:
    return [(int(start), int(end)) for start, end in about.tolist()]


def _attention_linears(backbone: Backbone) -> tuple[str, ...]:
    """Names of the projections in the decoder's attention, whatever its family calls them."""
    found: dict[str, None] = {}
    for name, module in backbone.layers[0].attention.named_modules():
        own = name.removesuffix(".base_layer")
        if isinstance(module, nn.Linear) and "." not in own:
            found[own] = None
    return tuple(found)


def _check(backbone: Backbone, options: MemLongOptions) -> None:
    rows = options.top_k * options.chunk if options.positions == "continual" else 1
    left = backbone.rope.positions - rows
    reason = f"the model has {left} positions for text beside what it retrieves"
    require(options.local <= left, "local", options.local, reason)
    turns = options.positions == "zero" or not backbone.rope.changing
    reason = "the model turns by angles that depend on the text's length"
    require(turns, "positions", options.positions, reason)
    capped = getattr(backbone.config, "attn_logit_softcapping", None) is not None
    reason = "the model caps its scores"
    require(options.gate == "none" or not capped, "gate", options.gate, reason)
