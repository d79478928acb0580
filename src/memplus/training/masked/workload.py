"""Learning from examples: which are drawn at which step.

Every step draws from a generator seeded by the run's seed and the step's number, so a resumed run
draws the examples that an uninterrupted one would have drawn.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from torch import Tensor

from memplus.errors import TrainingError, TrainingStartError
from memplus.training.masked.example import Example, ExampleMaker
from memplus.training.masked.packing import encode_example, pack_examples
from memplus.training.masked.run_config import AdapterRunConfig
from memplus.training.masked.step import MaskedJob, MaskedStep

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["MaskedWorkload"]


class MaskedWorkload:
    """The examples of a config.

    Args:
        module: is trained.
        config: kinds of examples and sizes.
        tokenizer: of the base.
        positions: most tokens of an example.
        processes: of the run; examples are not divided.

    Raises:
        TrainingError: there are several processes.
        MemplusError: what examples are made from cannot be read.
    """

    def __init__(
        self,
        module: MaskedStep,
        config: AdapterRunConfig,
        tokenizer: PreTrainedTokenizerBase,
        *,
        positions: int,
        processes: int = 1,
    ) -> None:
        if processes > 1:
            raise TrainingStartError(
                "adapters are learned in one process; start it without a launcher"
            )
        self.module = module
        self.config = config
        self._tokenizer = tokenizer
        self._positions = positions
        self._makers: list[ExampleMaker] = [one.maker() for one in config.examples]
        self._weights = [one.weight for one in config.examples]

    def examples(self, step: int, part: int) -> list[Example]:
        """The examples of a pass."""
        run = self.config.run
        random = Random(f"{run.seed}/{step}/{part}")
        first = (step * run.accumulate + part) * run.examples
        makers = random.choices(self._makers, self._weights, k=run.examples)
        return [maker.make(first + number, random) for number, maker in enumerate(makers)]

    def draw(self, step: int, part: int) -> MaskedJob:
        """The examples of a pass, packed.

        Raises:
            TrainingError: one is longer than the base has positions for.
        """
        encoded = [encode_example(one, self._tokenizer) for one in self.examples(step, part)]
        for one in encoded:
            if len(one.ids) > self._positions:
                reason = f"an example of {one.label} has {len(one.ids)} tokens, and the base has "
                raise TrainingError(f"{reason}{self._positions} positions")
        return MaskedJob(pack_examples(encoded, self.config.run.row_tokens))

    def advance(self, job: MaskedJob, figures: dict[str, float]) -> None:
        """Nothing depends on the figures."""

    def tensors(self) -> dict[str, Tensor]:
        """Nothing is kept from step to step."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing is kept from step to step."""
        return {}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Nothing was kept."""
