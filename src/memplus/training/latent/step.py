"""One step of learning a system's weights: passes over segments, and questions behind them.

Shapes: B documents, T tokens of a segment, q rows of a document, t tokens of a row, d hidden size,
V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from memplus.systems.latent.mechanism import Mechanism
from memplus.training.engine.workload import Figures
from memplus.training.latent.task import LatentJob
from memplus.training.tasks.answers import answer_losses
from memplus.training.tasks.asked import IGNORED, Asked
from memplus.training.tasks.learned_from import QUESTION_TOKENS

__all__ = ["LatentStep"]


class LatentStep(nn.Module):
    """A mechanism that is trained, and the states that its tasks carry from pass to pass.

    Args:
        mechanism: is trained; the decoder under it stays as it is.
    """

    def __init__(self, mechanism: Mechanism[Any]) -> None:
        super().__init__()
        self.mechanism = mechanism
        self.states: dict[str, Any] = {}
        """By task, of all documents together; without a graph."""

    def forward(self, job: LatentJob) -> tuple[Tensor, Figures]:
        """The loss [] of a pass and its figures."""
        self.mechanism.at_step(job.step)
        if job.labels is not None:
            loss, figures = self._text(job, job.labels)
        else:
            loss, figures = self._questions(job)
        return loss, figures | {"loss": loss.detach(), f"loss.{job.label}": loss.detach()}

    def _begin(self, job: LatentJob) -> Any:
        if job.fresh or job.label not in self.states:
            return self.mechanism.empty(len(job.ids))
        return self.states[job.label]

    def _ids(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.mechanism.backbone.device)

    # Running text -------------------------------------------------------------------------------

    def _text(self, job: LatentJob, labels: Tensor) -> tuple[Tensor, Figures]:
        """The mean over predicted tokens."""
        state = self._begin(job)
        size = self.mechanism.segment_tokens
        sums = []
        for ids, wanted in zip(job.ids.split(size, dim=1), labels.split(size, dim=1), strict=True):
            found, state = self._segment(state, self._ids(ids), self._ids(wanted))
            sums.append(found)
        self.states[job.label] = state.detached()
        return torch.stack(sums).sum() / (labels != IGNORED).sum().to(sums[0].device), {}

    def _segment(self, state: Any, ids: Tensor, labels: Tensor | None) -> tuple[Tensor, Any]:
        """The sum of the losses [] of a segment's predicted tokens, and the state behind it.

        Where gradients go through time only the states of segments are kept, and a segment is
        computed again when its gradients are.
        """
        if self.mechanism.through_time and torch.is_grad_enabled():
            found = checkpoint(self._plain_segment, state, ids, labels, use_reentrant=False)
            sums: Tensor = found[0]
            return sums, found[1]
        return self._plain_segment(state, ids, labels)

    def _plain_segment(self, state: Any, ids: Tensor, labels: Tensor | None) -> tuple[Tensor, Any]:
        hidden, after = self.mechanism.read_and_write(state, ids)
        there = torch.zeros_like(ids, dtype=torch.bool) if labels is None else labels != IGNORED
        if labels is None or not bool(there.any()):
            return hidden.new_zeros((), dtype=torch.float32), after
        logits = self._logits(hidden[there])
        return functional.cross_entropy(logits, labels[there], reduction="sum"), after

    def _logits(self, hidden: Tensor) -> Tensor:
        """[n, d] -> [n, V] in float32."""
        logits: Tensor = self.mechanism.backbone.model.get_output_embeddings()(hidden)
        return logits.float()

    # Questions ----------------------------------------------------------------------------------

    def _questions(self, job: LatentJob) -> tuple[Tensor, Figures]:
        """The mean over documents, which are written and asked side by side."""
        asked, count = job.asked, len(job.ids)
        assert asked is not None, "a job without labels asks"
        state = self._written(self._begin(job), self._ids(job.ids))
        hidden = self._read(state.repeated(len(asked.ids) // count), job, asked)
        self.states[job.label] = state.detached()
        on_device = self._on_device(asked)
        assert job.seen is not None, "rows say whether they can be answered"
        seen = self._ids(job.seen)
        losses, figures = answer_losses(self._logits(hidden), on_device, seen, count)
        return losses.mean(), figures | {QUESTION_TOKENS: torch.tensor(asked.tokens / count)}

    def _written(self, state: Any, ids: Tensor) -> Any:
        """The state behind what documents are told, [B, n]."""
        for segment in ids.split(self.mechanism.segment_tokens, dim=1):
            if self.mechanism.through_time:
                _, state = self._segment(state, segment, None)
            else:
                with torch.no_grad():
                    state = self.mechanism.write(state, segment)
        return state

    def _read(self, state: Any, job: LatentJob, asked: Asked) -> Tensor:
        """[n, d] at labelled places, in order; the state is of as many rows as ask."""
        assert asked.pad is not None, "rows are padded on the left"
        assert job.about is not None, "rows say where the question stands"
        about, pad = self._ids(job.about), self._ids(asked.pad)
        hidden = self.mechanism.read_about(state, self._ids(asked.ids), about, pad)
        return hidden[self._ids(asked.labels) != IGNORED]

    def _on_device(self, asked: Asked) -> Asked:
        ids, labels, prompt, kinds, rows = (
            self._ids(one)
            for one in (asked.ids, asked.labels, asked.prompt, asked.kinds, asked.rows)
        )
        return Asked(ids, labels, prompt, kinds, rows)

    # From step to step --------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The states, for a checkpoint."""
        return {
            f"{label}/{name}": tensor.detach().cpu().clone()
            for label, state in self.states.items()
            for name, tensor in state.tensors.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        found: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            label, name = key.split("/", 1)
            found.setdefault(label, {})[name] = tensor
        self.states = {label: self.mechanism.restored(own) for label, own in found.items()}
