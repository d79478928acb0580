"""LongMem behind the door of ``systems``."""

from __future__ import annotations

from dataclasses import replace

from memplus.backbone.access import Backbone
from memplus.systems.latent.system import Decode, LatentSystem
from memplus.systems.longmem.mechanism import LongMem
from memplus.systems.longmem.options import LongMemOptions

__all__ = ["LongMemSystem"]


class LongMemSystem(LatentSystem[LongMemOptions]):
    """Keys and values of one layer, which a trained side network finds again.

    See ``LatentSystem`` for arguments and errors.
    """

    registered = "longmem"
    called = "LongMem"
    options_type = LongMemOptions
    makes = (
        "memplus train --config configs/longmem/pieces.yaml",
        "memplus train --config configs/longmem/questions.yaml",
    )
    # How much is kept, how the side network started and whether its gate is shut may differ.
    trained_for = (
        "reduction", "memory_layer", "chunk_tokens", "retrieved_tokens", "segment_tokens",
        "gate_rate", "published",
    )  # fmt: skip

    by_decoder = ("reduction",)

    @classmethod
    def decided(cls, options: LongMemOptions, backbone: Backbone) -> LongMemOptions:
        """See ``LatentSystem.decided``."""
        return replace(options, reduction=options.reduction_of(len(backbone.layers)))

    @property
    def not_of_sessions(self) -> tuple[str, ...]:
        """See ``SharedSystem.not_of_sessions``: how training began is in the trained weights."""
        begun = () if self.tools.folder is None else ("init",)
        return (*super().not_of_sessions, *begun)

    @classmethod
    def build(cls, backbone: Backbone, options: LongMemOptions, decode: Decode) -> LongMem:
        """See ``LatentSystem.build``."""
        return LongMem(backbone, options)
