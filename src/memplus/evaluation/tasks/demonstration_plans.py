"""What a demonstration tells in a text and asks for: notes, or ordinary statements.

Notes are of the one kind that the nano was trained on, about people whose names no generator made
and no training read (``data.outside``). Everything else that is told to a model is
what people say, so other models are shown with hand-written statements of topics that no training
reads (``data.statements``), a question about each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from memplus.data.outside import BUNDLED_NAMES, read_names
from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.tasks.held_out import STATEMENT, HeldOut, statement_items
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan
from memplus.evaluation.tasks.told import Item, Telling, told_plan

__all__ = ["NOTE_SIZES", "STATEMENT_SIZES", "ToTell", "notes_to_tell", "statements_to_tell"]

NOTE_SIZES = RetentionSizes(20, (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 160_000))
STATEMENT_SIZES = RetentionSizes(30, (0, 1_000, 4_000, 16_000, 32_000))
"""Smaller than ``NOTE_SIZES``: a pretrained decoder reads some hundred tokens a second on a CPU."""

_MakePlan = Callable[[RetentionSizes], Plan]


@dataclass(frozen=True, slots=True)
class ToTell:
    """What is told, asked and judged."""

    kind: str
    """Of the questions about what was told; all others are about what never was."""
    count: int
    """How much is told, with one question each."""
    plan: Plan
    judge: Judge

    @property
    def about_told(self) -> list[Question]:
        """The questions about what was told, in order."""
        return [one for one in self.plan.questions if one.kind == self.kind]

    @property
    def distances(self) -> list[int]:
        """Tokens between what was told and its questions, rising."""
        return sorted({one.wanted for one in self.about_told if one.wanted is not None})


def notes_to_tell(texts: Texts, chunk: int, sizes: RetentionSizes, seed: int) -> ToTell:
    """Notes told in a text, about people with the bundled names.

    The answer given must be the value and nothing else.

    Args:
        texts: what they are told in; its length bounds the distances.
        chunk: questions fall on multiples of so many tokens.
        sizes: how many notes, and the distances, of which those that fit are asked.
        seed: of the notes, their places and the sessions.

    Raises:
        ConfigError: there are too few names, or the text is too short for the shortest distance.
    """
    people = read_names(BUNDLED_NAMES)
    plan = _longest(texts, sizes, lambda fit: retention_plan(texts, chunk, fit, seed, people))
    return ToTell(NOTE, sizes.notes, plan, Judge())


def statements_to_tell(texts: Texts, chunk: int, sizes: RetentionSizes, seed: int) -> ToTell:
    """Held-out statements told in a text; the answer must stand in what was said.

    Half as many questions are about statements that are never told. An answer that the model
    withholds for lack of confidence is not right.

    Args:
        texts: what they are told in; its length bounds the distances.
        chunk: questions fall on multiples of so many tokens.
        sizes: how many statements, and the distances, of which those that fit are asked.
        seed: of the statements, their places and the sessions.

    Raises:
        ConfigError: there are fewer statements, or the text is too short for the shortest distance.
    """

    def make(fit: RetentionSizes) -> Plan:
        dealt = HeldOut(statement_items(fit.distances, ())).deal(fit.notes, seed)
        if len(dealt.items) < fit.notes:
            reason = f"there are {len(dealt.items)} statements that no training reads"
            raise ConfigError("notes", value=fit.notes, reason=reason)
        told, untold = (tuple(map(_asked_once, items)) for items in (dealt.items, dealt.untold))
        return told_plan(texts, chunk, Telling(told, untold), seed)

    plan = _longest(texts, sizes, make)
    return ToTell(STATEMENT, sizes.notes, plan, Judge("contains", explained=True))


def _asked_once(item: Item) -> Item:
    return replace(item, questions=item.questions[:1])


def _longest(texts: Texts, sizes: RetentionSizes, make: _MakePlan) -> Plan:
    """The plan with all distances that need no sentence of the text twice."""
    fit = [distance for distance in sizes.distances if distance < texts.tokens]
    while fit:
        plan = make(RetentionSizes(sizes.notes, tuple(fit)))
        if plan.tokens <= texts.tokens:
            return plan
        fit.pop()
    reason = f"a text of {texts.tokens} tokens is too short to ask for so many"
    raise ConfigError("notes", value=sizes.notes, reason=reason)
