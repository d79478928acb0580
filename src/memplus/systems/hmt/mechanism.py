"""HMT (2405.06067) as sessions and training know it: see ``segments`` for what it computes.

Shapes: B rows, T tokens, d hidden size, L tokens of a whole segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.errors import MemorySizeError
from memplus.systems.hmt.decoding import HMTDecoding
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.hmt.padded import Padded
from memplus.systems.hmt.segments import Segments
from memplus.systems.hmt.state import HMTState, restored_state
from memplus.systems.latent.mechanism import Mechanism

__all__ = ["HMTMechanism"]


class HMTMechanism(Mechanism[HMTState]):
    """A decoder with HMT's memory: one vector for each segment.

    Args:
        backbone: the stock decoder.
        options: sizes and ablations.

    Raises:
        MemorySizeError: a segment takes more positions than the decoder has.
    """

    through_time: ClassVar[bool] = True

    def __init__(self, backbone: Backbone, options: HMTOptions) -> None:
        super().__init__(backbone)
        needed = options.segment_tokens + options.sensory_tokens + 2
        if needed > backbone.rope.positions:
            raise MemorySizeError(needed=needed, available=backbone.rope.positions)
        self.options = options
        self.segment_tokens = self.longest = options.segment_tokens
        self.segments = Segments(backbone, options)

    def empty(self, rows: int) -> HMTState:
        """See ``Mechanism.empty``."""
        return self.segments.empty(rows)

    def write(self, state: HMTState, ids: Tensor) -> HMTState:
        """See ``Mechanism.write``."""
        return self.read_and_write(state, ids)[1]

    def read_and_write(self, state: HMTState, ids: Tensor) -> tuple[Tensor, HMTState]:
        """See ``Mechanism.read_and_write``; no gradient is cut anywhere."""
        with self.segments.active():
            return self.segments.read_and_write(state, Padded(ids))

    def read(self, state: HMTState, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        """See ``Mechanism.read``."""
        text = Padded.of(ids, pad)
        with self.segments.active():
            return self.segments.read(state, text, self.segments.beginning(text))

    def begin(self, state: HMTState, ids: Tensor, pad: Tensor | None = None) -> HMTDecoding:
        """See ``Mechanism.begin``."""
        text = Padded.of(ids, pad)
        return HMTDecoding(self.segments, state, text, self.segments.beginning(text))

    def read_about(
        self, state: HMTState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> Tensor:
        """See ``Mechanism.read_about``: nothing behind the question is summed up."""
        text = Padded.of(ids, pad)
        with self.segments.active():
            return self.segments.read(state, text, self.segments.question(state, text, about))

    def begin_about(
        self, state: HMTState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> HMTDecoding:
        """See ``Mechanism.begin_about``: nothing behind the question is summed up."""
        text = Padded.of(ids, pad)
        summed = self.segments.question(state, text, about)
        return HMTDecoding(self.segments, state, text, summed)

    def restored(self, tensors: Mapping[str, Tensor]) -> HMTState:
        """See ``Mechanism.restored``."""
        return restored_state(
            tensors,
            self.empty(1),
            kept=self.options.kept,
            sensory=self.options.sensory_tokens,
            vocabulary=int(self.backbone.embedding.num_embeddings),
        )
