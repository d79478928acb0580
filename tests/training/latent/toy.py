"""The toy of ``tests.systems.latent`` as something to train: it has a low-rank update as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.systems.latent.toy import ToyMechanism, ToyOptions, ToyState
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.lora import Lora, LoraSizes, under
from memplus.systems.latent.system import Decode, LatentSystem

__all__ = ["Learner", "LearnerOptions", "LearnerSystem", "Stepwise"]


class Learner(ToyMechanism):
    """Gradients go through the means of earlier segments."""

    steps: list[int]
    """What ``at_step`` was told."""

    def __init__(self, backbone: Backbone, options: LearnerOptions) -> None:
        super().__init__(backbone, options.segment, options.longest, options.decay)
        self.lora = Lora(backbone, LoraSizes(rank=options.rank, targets=("q_proj", "v_proj")))
        self.steps = []

    def at_step(self, step: int) -> None:
        self.steps.append(step)

    def restored(self, tensors: Mapping[str, Tensor]) -> ToyState:
        return ToyState(tensors["mean"].clone(), tensors["ends"].clone())

    def decoded(self, embeds: Tensor, mask: Tensor, cache: Any) -> Tensor:
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        with under(self.backbone, self.lora):
            output = self.backbone.decoder(
                inputs_embeds=embeds, attention_mask=mask, position_ids=places, use_cache=False
            )
        hidden: Tensor = output.last_hidden_state
        return hidden


class Stepwise(Learner):
    """Gradients end at the segment's own beginning."""

    through_time = False

    def read_and_write(self, state: ToyState, ids: Tensor) -> tuple[Tensor, ToyState]:
        hidden, after = super().read_and_write(state, ids)
        return hidden, after.detached()


@dataclass(frozen=True)
class LearnerOptions(ToyOptions):
    """Of the toy."""

    rank: int = 2
    through_time: bool = True


class LearnerSystem(LatentSystem[LearnerOptions]):
    """The toy behind the door."""

    registered = "learner"
    called = "Learner"
    options_type = LearnerOptions
    makes = ("memplus train --config configs/learner/stage1.yaml",)
    trained_for = ("segment", "rank")

    @classmethod
    def build(cls, backbone: Backbone, options: LearnerOptions, decode: Decode) -> Learner:
        return (Learner if options.through_time else Stepwise)(backbone, options)
