"""One step of learning an adapter: the loss of the learned tokens of packed examples.

Shapes: R rows, S tokens of a row, n learned tokens, V vocabulary, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from memplus.backbone.access import Backbone
from memplus.backbone.lora import Lora, under
from memplus.training.engine.workload import Figures
from memplus.training.masked.packing import IGNORED, Packed

__all__ = ["MaskedJob", "MaskedStep"]


@dataclass(frozen=True)
class MaskedJob:
    """The examples of a step."""

    packed: Packed

    @property
    def label(self) -> str:
        """For people."""
        return "examples"

    @property
    def tokens(self) -> int:
        """Tokens read, without padding."""
        return int((self.packed.owner >= 0).sum())


class MaskedStep(nn.Module):
    """An adapter and the decoder that it is learned on.

    Args:
        backbone: the decoder; its weights stay as they are.
        lora: is trained.
    """

    def __init__(self, backbone: Backbone, lora: Lora) -> None:
        super().__init__()
        self.backbone = backbone
        self.lora = lora

    def forward(self, job: MaskedJob) -> tuple[Tensor, Figures]:
        """The loss [], a mean over learned tokens, and the same by label."""
        packed, device = job.packed, self.backbone.device
        labels = packed.labels[:, 1:]
        learned = labels != IGNORED
        hidden = self._hidden(packed, device)[:, :-1][learned.to(device)]
        logits = self.backbone.model.get_output_embeddings()(hidden).float()
        wanted = labels[learned].to(device)
        losses = functional.cross_entropy(logits, wanted, reduction="none")
        right = (logits.argmax(dim=-1) == wanted).float()
        figures = {"loss": losses.mean().detach(), "right": right.mean()}
        kinds = packed.kinds[:, 1:][learned].to(device)
        for index, name in enumerate(packed.names):
            of_kind = losses.detach()[kinds == index]
            if len(of_kind):
                figures[f"loss.{name}"] = of_kind.mean()
        return losses.mean(), figures

    def _hidden(self, packed: Packed, device: torch.device) -> Tensor:
        """[R, S, d] after the final norm."""
        dtype = self.backbone.dtype
        blocked = packed.blocked.to(device)
        mask = torch.zeros(blocked.shape, dtype=dtype, device=device)
        mask.masked_fill_(blocked, torch.finfo(dtype).min)
        with under(self.backbone, self.lora):
            output = self.backbone.decoder(
                input_ids=packed.ids.to(device),
                attention_mask=mask,
                position_ids=packed.positions.to(device),
                use_cache=False,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden
