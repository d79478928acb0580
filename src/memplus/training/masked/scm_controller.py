"""Examples of SCM's controller (2304.13343): is it answered here, is anything earlier needed?

The published method does not train; a controller that learned from these is named as tuned. What is
asked is what the system asks, in both orders of the letters, and the letter alone is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import ClassVar

from memplus.config import PromptConfig, require
from memplus.data.answerable import TwoKinds, draw_judged, read_answerable
from memplus.data.notes import make_notes
from memplus.data.requests import make_requests
from memplus.systems.scm.prompts import ANSWER_START, LETTERS, question_one, question_two
from memplus.training.masked.example import Example, ExampleKind, ExampleMaker, Piece

__all__ = ["SCMControllerExamples"]


@dataclass(frozen=True, kw_only=True)
class SCMControllerExamples(ExampleKind):
    """An entry ``{kind: scm_controller, ...}``."""

    kind: ClassVar[str] = "scm_controller"

    questions: str
    """SQuAD 2.0 as published; its held-out articles are not read."""
    template: str = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    """How the model is asked, as in its prompt config."""
    gate: float = 0.2
    """Share of examples that are of question 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.gate <= 1, "gate", self.gate, "it is a share")
        PromptConfig(template=self.template)

    def maker(self) -> ExampleMaker:
        """See ``ExampleKind.maker``."""
        return _Maker(self, read_answerable(Path(self.questions), "train"))


@dataclass(frozen=True)
class _Maker:
    config: SCMControllerExamples
    paragraphs: Sequence[TwoKinds]

    def make(self, index: int, random: Random) -> Example:
        """See ``ExampleMaker.make``; yes and no are drawn equally often."""
        yes = random.random() < 0.5
        if random.random() < self.config.gate:
            return self._example(
                "gate", question_one(self._input(random, told=yes)), random, yes=yes
            )
        (one,) = draw_judged(self._two(random), each=1, seed=random.getrandbits(32))
        question = one.questions[one.answered.index(yes)]
        return self._example("answers", question_two(one.text, question), random, yes=yes)

    def _two(self, random: Random) -> list[TwoKinds]:
        """Paragraphs of two articles; either may be the one that is asked about.

        Half of the time they have no look-alikes, so that questions about others are drawn too.
        """
        first = random.choice(self.paragraphs)
        others = [one for one in self.paragraphs if one.topic != first.topic]
        two = [first, random.choice(others)]
        return two if random.random() < 0.5 else [replace(one, look_alikes=()) for one in two]

    def _input(self, random: Random, *, told: bool) -> str:
        seed = str(random.getrandbits(32))
        if told:
            return make_notes(seed, 1, "train")[0].question
        return make_requests(seed, 1)[0]

    def _example(self, label: str, asked: tuple[str, str], random: Random, *, yes: bool) -> Example:
        """The first wording has yes as the first letter."""
        order = random.randrange(2)
        letter = LETTERS[order if yes else 1 - order]
        prompt = PromptConfig(template=self.config.template).filled(asked[order])
        pieces = Piece(prompt), Piece(ANSWER_START), Piece(letter, learned=True)
        return Example(label, pieces, ends=False)
