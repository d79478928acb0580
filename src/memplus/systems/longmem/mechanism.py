"""LongMem: a side network beside a frozen decoder, one of whose layers also reads a bank.

The decoder reads a segment; the side network reads what stands between its layers. Layer i of it
gives x_{i+1} = f_i(x_i) + h_{r(i+1)} - h_{ri}, with h_l the output of l layers of the decoder and
x_0 = h_0. In its memory layer each head finds the best chunks of a bank for each token, attends to
their tokens alone, and a learned gate mixes that with the attention to the segment. The bank holds
keys and values, before positions, of one layer of the decoder; a segment's are put into it after
the segment was read.

Against the published code: one bank for each row of a batch, the last difference before the final
norm, the decoder's own norms, as many chunks as there are, chunks that leave one by one;
``published`` turns these back. Rotary positions, which the paper's decoder has not, take part in
the attention to the segment alone.

Shapes: B rows, T tokens, d hidden size, H query heads, G key/value heads, D head width, n chunks
that a head finds for a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.layer_states import LayerStates, Text, layer_states, new_cache, text_of
from memplus.backbone.lora import under
from memplus.backbone.side_decoder import Change, SideDecoder
from memplus.systems.latent.mechanism import Mechanism, Share
from memplus.systems.longmem.bank import Bank, BankShape
from memplus.systems.longmem.options import LongMemOptions
from memplus.systems.longmem.retrieval import attend_chunks, best_chunks, mixed
from memplus.systems.longmem.shares import Account

__all__ = ["LongMem", "LongMemDecoding"]

_PUBLISHED_EPS = 1e-5
_PUBLISHED_LEAVING = 2


class LongMem(Mechanism[Bank]):
    """A stock decoder with a side network and a bank.

    Args:
        backbone: the decoder.
        options: sizes; the defaults where None.

    Raises:
        ConfigError: the decoder has too few layers, or a number that r does not divide.
    """

    through_time = False

    def __init__(self, backbone: Backbone, options: LongMemOptions | None = None) -> None:
        super().__init__(backbone)
        self.options = options or LongMemOptions()
        layers = len(backbone.layers)
        self.banked_layer = self.options.layer_of(layers)
        """m."""
        step = self.options.reduction_of(layers)
        self.places = range(0, layers + 1, step)
        """Of the decoder's states that the side network reads."""
        self.memory_layer = self.banked_layer // step
        """i_m, of the side network."""
        origins = [place - 1 for place in self.places[1:]]
        self.side = SideDecoder(backbone, origins, self.memory_layer)
        self.gate = nn.Parameter(torch.zeros(self.side.query_heads, device=backbone.device))
        self.segment_tokens = self.options.segment_tokens
        self.unit = self.options.chunk_tokens
        self.longest = backbone.rope.positions
        self.bank_shape = BankShape(
            chunk_tokens=self.options.chunk_tokens,
            heads=backbone.kv_heads,
            width=backbone.head_dim,
            capacity=self.options.capacity,
            leaving=_PUBLISHED_LEAVING if self.options.published else 1,
        )
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Make the side network what ``init`` says."""
        if self.options.published:
            self.side.set_eps(_PUBLISHED_EPS)
        if self.options.init == "published":
            return
        for layer in range(len(self.places) - 1):
            if layer == self.memory_layer and self.options.init == "memory":
                continue
            for linear in self.side.outputs(layer):
                for weight in linear.parameters():
                    weight.zero_()

    @property
    def gates(self) -> Tensor:
        """g [H] float32: its weight times ``gate_rate``, so that its steps are as much longer."""
        return self.gate.float() * self.options.gate_rate

    @property
    def shares_of_gate(self) -> list[float]:
        """sigmoid(g): how much of each head's attention goes to the memory, 0 to 1."""
        found: list[float] = torch.sigmoid(self.gates.detach()).tolist()
        return found

    def empty(self, rows: int) -> Bank:
        """See ``Mechanism.empty``."""
        like = self.backbone.embedding.weight
        return Bank.empty(self.bank_shape, 1 if self.options.published else rows, like)

    def write(self, state: Bank, ids: Tensor) -> Bank:
        """See ``Mechanism.write``: the decoder runs up to layer m alone."""
        found = layer_states(self.backbone, ids, (self.banked_layer,))
        return self._banked(state, found)

    def read(self, state: Bank, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        """See ``Mechanism.read``."""
        text = text_of(ids.shape[1], pad)
        found = layer_states(self.backbone, ids, self.places, whole=True, text=text)
        return self._beside(found, self._change(state), text)

    def read_and_write(self, state: Bank, ids: Tensor) -> tuple[Tensor, Bank]:
        """See ``Mechanism.read_and_write``: no gradient reaches the decoder or the bank."""
        places = {*self.places, self.banked_layer}
        found = layer_states(self.backbone, ids, places, whole=True)
        hidden = self._beside(found, self._change(state), Text(None, None))
        return hidden, self._banked(state, found)

    def begin(self, state: Bank, ids: Tensor, pad: Tensor | None = None) -> LongMemDecoding:
        """See ``Mechanism.begin``."""
        return LongMemDecoding(self, state, ids, pad)

    def restored(self, tensors: Mapping[str, Tensor]) -> Bank:
        """See ``Mechanism.restored``."""
        return Bank.restored(self.bank_shape, tensors, self.backbone.embedding.weight)

    @torch.no_grad()
    def _banked(self, state: Bank, found: LayerStates) -> Bank:
        """With the keys and values of layer m for what a pass has read."""
        layer = self.backbone.layers[self.banked_layer]
        with under(self.backbone, None):
            keys, values = layer.project(found.at[self.banked_layer])
        if self.options.published:
            keys, values = keys.flatten(0, 1)[None], values.flatten(0, 1)[None]
        return state.append(keys, values)

    def _beside(
        self, found: LayerStates, change: Change | None, text: Text, cache: Any = None
    ) -> Tensor:
        """The side network over the states of a pass, [B, T, d] after its final norm."""
        states = [found.at[place] for place in self.places]
        ends = states[1:]
        if self.options.published and found.final is not None:
            ends = [*ends[:-1], found.final]
        steps = [end - begin for begin, end in zip(states, ends)]
        # Training keeps the side network in float32 whatever the decoder's dtype.
        first, *added = (one.to(self.side.dtype) for one in (states[0], *steps))
        hidden: Tensor = self.side(first, added, change, text, cache)
        return hidden.to(self.backbone.dtype)

    def _change(self, bank: Bank, account: Account | None = None) -> Change | None:
        """What the memory layer's attention becomes; None while nothing is kept."""
        if len(bank) == 0 or self.options.gate == "closed":
            return None

        def change(query: Tensor, local: Tensor) -> Tensor:
            chunks, filled = self.options.chunks, self.options.published
            index = best_chunks(query, bank, chunks, filled=filled)
            memory, weights = attend_chunks(query, bank, index)
            if account is not None:
                account.add(index[:, -1], torch.sigmoid(self.gates)[:, None] * weights[:, -1])
            return mixed(local, memory, self.gates)

        return change


class LongMemDecoding:
    """See ``Decoding``: a text over a bank, with caches of both networks.

    Args:
        mechanism: whose.
        state: the bank; stays as it is.
        ids: [B, T].
        pad: [B]; None: no padding.
    """

    @torch.no_grad()
    def __init__(
        self, mechanism: LongMem, state: Bank, ids: Tensor, pad: Tensor | None = None
    ) -> None:
        self._mechanism = mechanism
        self._pad = pad
        self._length = 0
        self._account = Account(state, ids.shape[0])
        self._change = mechanism._change(state, self._account)
        self._caches = new_cache(mechanism.backbone.config), mechanism.side.new_cache()
        self.hidden = self._read(ids)

    @torch.no_grad()
    def step(self, tokens: Tensor) -> None:
        """See ``Decoding.step``."""
        self.hidden = self._read(tokens[:, None])

    @property
    def shares(self) -> Sequence[Sequence[Share]]:
        """See ``Decoding.shares``: of the last token of the text and of those behind it."""
        return self._account.shares()

    def _read(self, ids: Tensor) -> Tensor:
        own, side = self._caches
        mechanism = self._mechanism
        text = text_of(ids.shape[1], self._pad, before=self._length)
        found = layer_states(
            mechanism.backbone, ids, mechanism.places, whole=True, text=text, cache=own
        )
        self._length += ids.shape[1]
        return mechanism._beside(found, self._change, text, side)[:, -1]
