"""Notes told in running text, of which the right value is told from others by its likelihood.

A system that has kept a trace of a note and cannot say its value gets every question of
``retention`` wrong, as one does that has kept nothing. Here the value told is one of four, the
others being what the same text told of others, or could have told; what is asked is which of them
is the likeliest answer, and how much of the probability is the right one's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Self

from memplus.data.notes import MOST_SUBJECTS, Note, make_notes
from memplus.errors import ConfigError
from memplus.evaluation.engine.figures import Figure, means, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.evaluation.tasks.retention import NOTE
from memplus.evaluation.tasks.sizes import require_each, require_least, require_most
from memplus.evaluation.tasks.told import Item, Telling, told_plan

__all__ = ["RecognitionTask", "share_of_right"]

_MADE = 16
"""Notes made for each that is told, so that every class has values enough."""


@dataclass(frozen=True)
class RecognitionTask(BenchTask):
    """The notes of ``retention``, recognised."""

    name: ClassVar[str] = "recognition"
    title: ClassVar[str] = "which of four values was told"
    axis: ClassVar[str] = "tokens written since it was told"
    judge: ClassVar[Judge] = Judge("choice", max_new_tokens=16)

    lengths: tuple[int, ...] = (0, 1000, 16_000, 160_000)
    """Tokens written between what is told and its question."""
    items: int = 40
    """Notes told per seed."""
    seeds: int = 1
    choices: int = 4
    """Values to choose from."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, or something twice, or more than there are
                names for.
        """
        require_least("choices", self.choices, 2)
        require_least("items", self.items)
        require_most("items", self.items, MOST_SUBJECTS // _MADE)
        require_least("seeds", self.seeds)
        require_each("lengths", self.lengths, 0)

    @classmethod
    def small(cls) -> Self:
        """Sixteen notes, at once and 4000 tokens later."""
        return cls(lengths=(0, 4000), items=16)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """A stream per seed."""
        lengths = tuple(sorted(self.lengths))
        texts = inputs.texts(lengths[-1] + 20_000)
        plans = []
        for seed in range(self.seeds):
            notes = make_notes(f"recognition {seed}", _MADE * self.items, "held_out")
            told = notes[: self.items]
            options = _Options(notes, told, self.choices, seed)
            items = tuple(
                Item(NOTE, one.statement, ((one.question, (one.answer,)),), lengths, one.attribute)
                for one in told
            )
            plan = told_plan(texts, inputs.chunk, Telling(items), seed)
            steps = tuple(
                replace(step, questions=tuple(map(options.given, step.questions)))
                for step in plan.steps
            )
            plans.append(replace(plan, steps=steps, once=tuple(map(options.given, plan.once))))
        return plans

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Shares of right choices, and of the probability that the right value has."""
        found = list(lines)
        return [*shares(found), *means(found, "probability of the right one", share_of_right)]


class _Options:
    """What each question is chosen from.

    Args:
        notes: all that were made.
        told: those of them that the stream tells.
        choices: values for each question.
        seed: of what is drawn.
    """

    def __init__(
        self, notes: Sequence[Note], told: Sequence[Note], choices: int, seed: int
    ) -> None:
        self._choices = choices
        self._seed = seed
        self._told, self._made = _values(told), _values(notes)
        self._notes = {one.question: one for one in told}

    def given(self, question: Question) -> Question:
        """The question with its options, the right one first; the same at every distance.

        Others are values of the same class (numbers, colours, ...) that the stream told of somebody
        else, or, where there are too few, ones that it did not tell.

        Raises:
            ConfigError: there are too few of both.
        """
        note = self._notes[question.text]
        random = Random(f"{self._seed}/{note.question}")
        others: list[str] = []
        for values in (self._told, self._made):
            left = [v for v in values[note.value_class] if v != note.answer and v not in others]
            missing = self._choices - 1 - len(others)
            others += random.sample(left, min(missing, len(left)))
        if len(others) < self._choices - 1:
            reason = f"{note.question} has only {len(others) + 1}; more items have more"
            raise ConfigError("choices", value=self._choices, reason=reason)
        return replace(question, options=(note.answer, *others), answer_start="")


def _values(notes: Sequence[Note]) -> dict[str, list[str]]:
    """Class -> the values told, each once, in order."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for one in notes:
        found[one.value_class][one.answer] = None
    return defaultdict(list, {name: [*values] for name, values in found.items()})


def share_of_right(line: Mapping[str, Any]) -> float:
    """How much of the options' probability is the right one's; of a system that gives no
    likelihoods, all or nothing.

    Args:
        line: an answer, whose first option is the right one.
    """
    if "scores" not in line:
        return float(line["right"])
    right, *others = (float(score) for score, _ in line["scores"])
    return 1 / (1 + sum(math.exp(min(700.0, other - right)) for other in others))
