"""A batch of memories as the prefix of a read, without copying any of them.

Short-term keys are turned to their positions at the first read after a write and kept; what a
prompt retrieves is gathered and turned per read. Consecutive rows of one memory share a group.

Shapes: B batch, T tokens, m retrieved rows, n short-term rows, d hidden size, H key/value heads,
D head width, R retriever width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone, Layer
from memplus.backbone.attention import Segment
from memplus.backbone.products import empty_keys
from memplus.backbone.rope import Angles, rotate, rotate_into
from memplus.memory.long_term import LongTermPool
from memplus.memory.retriever import MemoryWeights
from memplus.memory.state import Memory
from memplus.passes.projection import retrieval_queries
from memplus.passes.read import Prefix
from memplus.passes.span_choice import SpanChoice, choose_spans

__all__ = ["MemoryPrefix", "prefix_length"]

_TURNED = "turned_keys"


def prefix_length(memory: Memory, *, bos: bool) -> int:
    """Positions that the prefix of a memory takes: bos, retrieved and short-term rows."""
    if not memory.short_term_rows and memory.config.first_write == "tile":
        return 0
    retrieved = _retrieved(memory)
    return int(bos) + retrieved + memory.short_term_rows


def _retrieved(memory: Memory) -> int:
    long_term = memory.long_term
    if long_term is None:
        return 0
    return max(long_term.reading_count(layer) for layer in range(len(long_term.tables)))


class MemoryPrefix(Prefix):
    """The prefix of a batch of memories.

    Args:
        backbone: the model.
        weights: bos and retriever.
        memories: one per batch row; rows may share one.
        prompt: [B, T] true where a token belongs to the prompt: no tail, no padding; what follows
            these T tokens in their pass does not retrieve.
        extra: [k rows] hidden vectors [L, k, d] of rows not yet written, read after the others.
    """

    def __init__(
        self,
        backbone: Backbone,
        weights: MemoryWeights,
        memories: Sequence[Memory],
        prompt: Tensor,
        extra: Tensor | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.memories = list(memories)
        self.prompt = prompt
        self.extra = extra
        self.rows = len(self.memories)
        self.retrieved: dict[tuple[int, int], Tensor] = {}
        """(batch row, layer) -> [m] indices into the long-term rows, in reading order."""
        self.scores: dict[tuple[int, int], Tensor] = {}
        """(batch row, layer) -> [n] retrieval scores of all long-term rows."""
        self._spans: list[SpanChoice] | None = None
        self._groups: dict[int, list[tuple[slice, list[Segment]]]] = {}
        self._asking: dict[int, Tensor] = {}

    def shift(self, device: torch.device) -> Tensor:
        """[B]: length of each row's prefix."""
        bos = self.weights.bos_embedding is not None
        extra = 0 if self.extra is None else int(self.extra.shape[1])
        lengths = [prefix_length(memory, bos=bos) + extra for memory in self.memories]
        return torch.tensor(lengths, device=device)

    def expand(self, times: int) -> None:
        """Serve every row ``times`` times in a row."""
        self.memories = [memory for memory in self.memories for _ in range(times)]
        self.prompt = self.prompt.repeat_interleave(times, dim=0)
        self._asking.clear()
        if self._spans is not None:
            self._spans = [found for found in self._spans for _ in range(times)]
        self.rows = len(self.memories)

    def runs(self) -> list[tuple[slice, Memory]]:
        """Consecutive batch rows that read the same memory."""
        runs: list[tuple[slice, Memory]] = []
        start = 0
        for row in range(1, self.rows + 1):
            if row == self.rows or self.memories[row] is not self.memories[start]:
                runs.append((slice(start, row), self.memories[start]))
                start = row
        return runs

    def groups(self, layer: int) -> list[tuple[slice, list[Segment]]]:
        """Segments of each run, as prepared in the prefill."""
        return self._groups[layer]

    def prepare(self, layer: int, hidden: Tensor, length: int) -> None:
        """Retrieve for every row and put its prefix together."""
        access = self.backbone.layers[layer]
        queries = self._queries(access, hidden)
        self._groups[layer] = [
            (run, self._segments(access, memory, run, queries, hidden, length))
            for run, memory in self.runs()
        ]

    def _queries(self, access: Layer, hidden: Tensor) -> Tensor | None:
        """[B, T, R] f_q of every token, where any memory has a long-term pool."""
        if self._spans is not None or self.weights.retriever is None:
            return None
        if access.index not in self.weights.retrieving:
            return None
        if all(memory.long_term is None for memory in self.memories):
            return None
        with torch.no_grad():
            return retrieval_queries(self.weights, access, hidden)

    def span_rows(self, row: int) -> tuple[Tensor, Tensor] | None:
        """What a batch row reads in every layer, span after span [m], and the scores [n].

        The score of rows that a later span replaces, which are not read, is minus infinity. None
        where layers retrieve rows, each for itself.
        """
        return None if self._spans is None else (self._spans[row].rows, self._spans[row].scores)

    @torch.no_grad()
    def retrieve_spans(self, queries: Sequence[Tensor]) -> None:
        """Choose the spans that every layer reads, before any layer is read.

        Args:
            queries: per row what it asks for (``passes.span_queries``).
        """
        found = [choose_spans(self.weights, one, queries[run]) for run, one in self.runs()]
        self._spans = [choice for choices in found for choice in choices]

    def _biases(self, layer: int, memory: Memory, run: slice) -> tuple[Tensor, Tensor] | None:
        """What is added to attention to the retrieved rows of a run [b, m], and to the pool's
        [b, n]; None where rows count alike."""
        choices = [] if self._spans is None else self._spans[run]
        behind = [one.behind for one in choices if one.behind is not None]
        unread = [one.unread for one in choices if one.unread is not None]
        if not (behind or unread):
            return None
        with torch.no_grad():
            parts = [self.weights.span_bias(layer, torch.stack(behind))] if behind else []
            parts += [torch.stack(unread)] if unread else []
            bias = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        retrieved, own = bias.tensor_split([bias.shape[1] - memory.short_term_rows], dim=1)
        reads = memory.long_term is not None and memory.long_term.reading_count(layer) > 0
        return retrieved if reads else retrieved[:, :0], own

    def _segments(
        self,
        access: Layer,
        memory: Memory,
        run: slice,
        queries: Tensor | None,
        hidden: Tensor,
        length: int,
    ) -> list[Segment]:
        bos = self.weights.bos_embedding
        needed = prefix_length(memory, bos=bos is not None)
        segments: list[Segment] = []
        if needed:
            angles = self.backbone.angles(access, max(needed, length), hidden)
            biases = self._biases(access.index, memory, run)
            called = self._retrieved_segment(access, memory, run, queries, angles)
            if called is not None and biases is not None and biases[0].shape[1]:
                called = called._replace(
                    bias=nn.functional.pad(biases[0], (called.key.shape[2] - biases[0].shape[1], 0))
                )
            if called is not None:
                segments.append(called)
            if memory.short_term_rows:
                own = self._short_term(access, memory, angles, length)
                segments.append(own if biases is None else own._replace(bias=biases[1]))
        if self.extra is not None:
            count = int(self.extra.shape[1])
            angles = self.backbone.angles(access, max(needed + count, length), hidden)
            keys, values = access.project(self.extra[access.index][None])
            turned = rotate(
                keys, (angles[0][needed : needed + count], angles[1][needed : needed + count])
            )
            segments.append(Segment(turned.transpose(1, 2), values.transpose(1, 2)))
        return segments

    def _retrieved_segment(
        self, access: Layer, memory: Memory, run: slice, queries: Tensor | None, angles: Angles
    ) -> Segment | None:
        """bos and the retrieved rows of every row of a run: [B or 1, H, 1 + m, D] each."""
        bos = self.weights.bos_embedding
        first = int(bos is not None)
        count = 0 if memory.long_term is None else memory.long_term.reading_count(access.index)
        if not first + count:
            return None
        batch = run.stop - run.start if count else 1
        shape = (batch, self.backbone.kv_heads, first + count, access.head_dim)
        keys, values = (angles[0].new_empty(shape, dtype=self.backbone.dtype) for _ in range(2))
        # A layer with fewer rows than another leaves the positions before them free.
        start = first + _retrieved(memory) - count
        positions = torch.arange(start, start + count, device=keys.device)
        for row in range(batch if count else 0):
            key, value = self._retrieve(access, memory, run.start + row, queries)
            rotate_into(keys[row, :, first:], key, angles, positions)
            values[row, :, first:] = value.transpose(0, 1)
        if bos is not None:
            key, value = access.project(bos[access.index])
            keys[:, :, :1] = rotate(key, (angles[0][:1], angles[1][:1])).transpose(0, 1)
            values[:, :, :1] = value.transpose(0, 1)
        return Segment(keys, values)

    @torch.no_grad()
    def _retrieve(
        self, access: Layer, memory: Memory, row: int, queries: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What a batch row retrieves: unrotated keys and values [m, H, D], oldest first."""
        assert memory.long_term is not None
        if self._spans is not None:
            chosen, scores = self._spans[row].rows, self._spans[row].scores
        else:
            assert queries is not None
            # Candidates of assisted decoding may follow the prompt in its own pass.
            asking = queries[row].index_select(0, self._asking_tokens(row))
            chosen, scores = memory.long_term.retrieve(access.index, asking)
        self.retrieved[row, access.index] = chosen
        self.scores[row, access.index] = scores
        return self._stored(access, memory.long_term, chosen)

    def _asking_tokens(self, row: int) -> Tensor:
        """Places of a batch row's own tokens: looked up once, since a GPU has to be waited for."""
        known = self._asking.get(row)
        if known is None:
            known = self._asking[row] = self.prompt[row].nonzero().squeeze(1)
        return known

    def _stored(self, access: Layer, pool: LongTermPool, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [m, H, D] of chosen rows, projected where hidden vectors are kept."""
        layer, dtype = access.index, self.backbone.dtype
        if "k" in pool.tables[layer].names:
            return pool.take(layer, "k", chosen, dtype), pool.take(layer, "v", chosen, dtype)
        return access.project(pool.take(layer, "hidden", chosen, dtype))

    def _short_term(self, access: Layer, memory: Memory, angles: Angles, length: int) -> Segment:
        """The pool's keys at their positions and its values, [1, H, n, D] each."""
        pool = memory.pool
        assert pool is not None
        offset = prefix_length(memory, bos=self.weights.bos_embedding is not None) - pool.count
        state = (memory.version, offset, self.backbone.rope.regime(length))
        cache = memory.derived.setdefault(_TURNED, {})
        known, turned = cache.get(access.index, (None, None))
        keys = pool.columns["k"][access.index, : pool.count]
        if known != state:
            shape = (keys.shape[1], pool.count, keys.shape[2])
            # Of the same version, an older read may still go on with them.
            again = known is not None and known[0] == memory.version
            if turned is None or tuple(turned.shape) != shape or again:
                with torch.inference_mode(mode=False):  # kept for later reads
                    turned = empty_keys(keys, *shape)
            positions = pool.position[access.index, : pool.count] + offset
            rotate_into(turned, keys, angles, positions)
            cache[access.index] = (state, turned)
        values = pool.columns["v"][access.index, : pool.count]
        return Segment(turned[None], values.transpose(0, 1)[None])
