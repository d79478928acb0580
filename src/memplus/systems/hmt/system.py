"""HMT (2405.06067): one vector of each segment, the newest 300, retrieved by a summary."""

from __future__ import annotations

from memplus.backbone.access import Backbone
from memplus.systems.hmt.mechanism import HMTMechanism
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.latent.system import Decode, LatentSystem

__all__ = ["HMTSystem"]


class HMTSystem(LatentSystem[HMTOptions]):
    """A decoder with HMT's memory; with ``retrieval=off`` a recurrent one of one vector.

    Args:
        shared: the model.
        options: sizes and ablations.

    Raises:
        SystemWeightsError: the trained weights are not there, or were trained with other sizes.
    """

    registered = "hmt"
    called = "HMT"
    options_type = HMTOptions
    makes = (
        "memplus train --config configs/hmt/stage1.yaml",
        "memplus train --config configs/hmt/stage2.yaml",
        "memplus train --config configs/hmt/questions.yaml",
        "memplus train --config configs/hmt/facts.yaml",
    )
    trained_for = (
        "segment_tokens", "sensory_tokens", "retrieval_dim", "summary_fraction", "rank", "alpha",
    )  # fmt: skip

    @classmethod
    def build(cls, backbone: Backbone, options: HMTOptions, decode: Decode) -> HMTMechanism:
        """See ``LatentSystem.build``.

        Raises:
            MemorySizeError: a segment takes more positions than the decoder has.
        """
        return HMTMechanism(backbone, options)
