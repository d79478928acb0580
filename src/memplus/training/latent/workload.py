"""Learning a system's weights: which task comes at which step, and what is kept between steps.

Every process walks through all documents in the same order and trains on its own share of each
batch, so the number of processes changes nothing.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from torch import Tensor

from memplus.errors import ConfigError
from memplus.systems.latent.mechanism import Mechanism
from memplus.training.latent.run_config import SystemRunConfig
from memplus.training.latent.step import LatentStep
from memplus.training.latent.task import LatentJob, Surroundings
from memplus.training.tasks.learned_from import LearnedFrom
from memplus.training.tasks.spelling import TokenizerSpelling, end_of
from memplus.training.text.order import DocumentOrder
from memplus.training.text.text_cache import Documents

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["LatentWorkload"]


class LatentWorkload:
    """The tasks of a config on a mechanism.

    Args:
        mechanism: is trained.
        config: tasks and sizes.
        documents: of all processes.
        tokenizer: of the base.
        place: index of this process, and how many there are; they divide ``run.documents``.

    Raises:
        ConfigError: the documents of a batch cannot be divided, or a task's sizes do not fit.
        MemplusError: what is told cannot be read.
    """

    def __init__(
        self,
        mechanism: Mechanism[Any],
        config: SystemRunConfig,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase,
        place: tuple[int, int] = (0, 1),
    ) -> None:
        (process, processes), batch = place, config.run.documents
        if batch % processes:
            reason = f"{processes} processes cannot divide them"
            raise ConfigError("run.documents", value=batch, reason=reason)
        self.config = config
        self.module = LatentStep(mechanism)
        self.order = DocumentOrder(documents, config.run.seed)
        each = batch // processes
        share = range(process * each, (process + 1) * each)
        end = end_of(mechanism.backbone.model.generation_config)
        around = Surroundings(
            self.order,
            share,
            batch,
            TokenizerSpelling(tokenizer, config.prompt, end),
            mechanism.segment_tokens,
            mechanism.longest,
        )
        self._sources = {task.label: task.open(around) for task in config.tasks}
        self.learned_from = LearnedFrom(batch)

    @property
    def counts(self) -> dict[str, int]:
        """See ``LearnedFrom.counts``."""
        return self.learned_from.counts

    def draw(self, step: int, part: int) -> LatentJob:
        """The next pass of a task drawn by its weight."""
        random = Random(f"{self.config.run.seed}/{step}/{part}/task")
        tasks = self.config.tasks
        (task,) = random.choices(tasks, [one.weight for one in tasks])
        return self._sources[task.label].draw(step, part)

    def advance(self, job: LatentJob, figures: dict[str, float]) -> None:
        """Count what was learned from."""
        self.learned_from.add(job.ids.shape[1], job.asked, len(job.ids), figures)

    def tensors(self) -> dict[str, Tensor]:
        """The states, and what the tasks keep."""
        kept = {f"state/{name}": tensor for name, tensor in self.module.tensors().items()}
        for label, source in self._sources.items():
            kept |= {f"task/{label}/{name}": one.clone() for name, one in source.tensors().items()}
        return kept

    def state(self) -> dict[str, Any]:
        """The order of documents, where the tasks stand, and counts."""
        tasks = {label: source.state() for label, source in self._sources.items()}
        return {"order": self.order.state(), "tasks": tasks, "counts": dict(self.counts)}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.order.restore(state["order"])
        self.module.restore(_under("state/", tensors))
        for label, source in self._sources.items():
            source.restore(_under(f"task/{label}/", tensors), state["tasks"][label])
        self.counts.update(state["counts"])


def _under(stem: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(stem): one for n, one in tensors.items() if n.startswith(stem)}
