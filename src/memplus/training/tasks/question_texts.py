"""Passages and their questions as token ids.

No tensors and no model: a ``Spelling`` is all that is needed of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from memplus.config import require
from memplus.data.made_facts import MadeFacts
from memplus.data.notes import NOTED, corrected, note_on
from memplus.data.passages import (
    PassageQuestion,
    PassageQuestions,
    read_fairytale,
    read_nq,
    read_squad,
)
from memplus.data.statements import (
    HELD_OUT_TOPICS,
    read_corrections,
    read_statements,
    statement_topics,
)
from memplus.errors import ConfigError
from memplus.training.engine.common_config import STRICT, require_weight
from memplus.training.tasks.endless import EndlessItems

__all__ = [
    "LONGEST_ANSWER",
    "LONGEST_ROW",
    "Item",
    "QuestionSource",
    "Spelling",
    "TokenQuestion",
    "encode_source",
    "trained_items",
]


class Spelling(Protocol):
    """How a model's tokenizer writes texts, questions and answers."""

    def text(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, and where each of them ends in it."""
        ...

    def question(self, question: str) -> list[int]:
        """A question in the model's prompt."""
        ...

    def answer(self, answer: str) -> list[int]:
        """An answer as the model would give it, with the token that ends it."""
        ...

    @property
    def abstention(self) -> list[int]:
        """What the model answers to what it was never told."""
        ...


LONGEST_ANSWER = 16
_LONGEST_PROMPT = 36
LONGEST_ROW = _LONGEST_PROMPT + LONGEST_ANSWER
"""Most tokens of a question in its prompt with its answer; longer ones are left out."""
_CORRECTED = 0.4
"""Share of notes that are corrected later."""
_SEED = "questions"
"""Of what is made by rule: the same in all runs, which draw other parts of it."""
_BUNDLED = ("statements", "corrections", "notes", "facts")


@dataclass(frozen=True)
class QuestionSource:
    """Where passages and questions come from, without what is held out."""

    __pydantic_config__ = STRICT

    kind: Literal["squad", "nq", "fairytale", "statements", "corrections", "notes", "facts"]
    """The format of a file, one of the sets that come with the package, or notes or facts made by
    rule, without end."""
    path: Path | None = None
    """The file; none for what comes with the package."""
    weight: float = 1.0
    """Its share of the passages, relative to the other sources."""
    max_tokens: int = 400
    """Longer passages are left out."""

    def __post_init__(self) -> None:
        bundled = self.kind in _BUNDLED
        reason = "it comes with the package" if bundled else "it needs a file"
        require((self.path is None) == bundled, "path", self.path, reason)
        require_weight(self.weight)
        require(self.max_tokens >= 16, "max_tokens", self.max_tokens, "it must be at least 16")

    @property
    def unweighted(self) -> QuestionSource:
        """The same items, whatever their share."""
        return replace(self, weight=1.0)


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A question about one part of an item."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """With the token that ends it."""
    part: int
    first: int
    """First token of that part that can hold the answer."""
    last: int


@dataclass(frozen=True, slots=True)
class Item:
    """A passage; or a statement and, some passages later, its correction."""

    parts: tuple[tuple[int, ...], ...]
    topic: str
    questions: tuple[TokenQuestion, ...]


def encode_source(source: QuestionSource, spelling: Spelling) -> Sequence[Item]:
    """Everything of a source that may be trained on; of what has no end, items when asked for.

    Raises:
        NotFoundError, StorageError, QuestionSetError: its file cannot be read.
    """
    made = _Maker(spelling)
    if source.kind == "corrections":
        return list(made.corrections())
    if source.kind == "notes":
        return EndlessItems(source.kind, made.note, [name for name, _ in NOTED])
    if source.kind == "facts":
        facts, longest = MadeFacts(_SEED), source.max_tokens
        return EndlessItems(source.kind, partial(made.fact, facts, longest), facts.topics)
    items = made.passages(_passages(source))
    return [one for one in items if len(one.parts[0]) <= source.max_tokens]


def trained_items(source: QuestionSource, spelling: Spelling) -> Sequence[Item]:
    """``encode_source``, and never nothing.

    Raises:
        NotFoundError, StorageError, QuestionSetError: its file cannot be read.
        ConfigError: there is nothing in it.
    """
    found = encode_source(source, spelling)
    # Of what has no end the first item is made: where nothing fits, it says so.
    if not found[:1]:
        reason = "nothing in it is for training, and short enough"
        raise ConfigError("sources", value=str(source.path or source.kind), reason=reason)
    return found


def _passages(source: QuestionSource) -> list[PassageQuestions]:
    if source.path is None:
        return [
            PassageQuestions(
                one.text,
                one.topic,
                tuple(PassageQuestion(asked.question, asked.answers) for asked in one.questions),
            )
            for one in read_statements(_trained_topics())
        ]
    readers = {"squad": read_squad, "nq": read_nq, "fairytale": read_fairytale}
    return readers[source.kind](source.path, "train")


def _trained_topics() -> list[str]:
    return [topic for topic in statement_topics() if topic not in HELD_OUT_TOPICS]


class _Maker:
    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling

    def passages(self, passages: Iterable[PassageQuestions]) -> Iterator[Item]:
        for one in passages:
            ids, ends = self.spelling.text(one.text)
            questions = []
            for asked in one.questions:
                first, last = _place(one.text, asked.answers, ends)
                made = self.question(asked.question, asked.answers[0], 0, first, last)
                questions += [made] if made is not None else []
            if questions:
                yield Item((tuple(ids),), one.topic, tuple(questions))

    def corrections(self) -> Iterator[Item]:
        for one in read_corrections(_trained_topics()):
            before, after = (one.text, one.outdated), (one.later, one.answers)
            yield from self.changing(one.question, before, after, one.topic)

    def note(self, index: int, attempt: int) -> Item | None:
        """A note of the nano's kind; None where it is too long."""
        seed = f"{_SEED}/{index}/{attempt}"
        one = note_on(NOTED[index % len(NOTED)], seed, "train")
        asked = PassageQuestion(one.question, (one.answer,))
        if Random(seed).random() >= _CORRECTED:
            return self._one(PassageQuestions(one.statement, one.attribute, (asked,)))
        later = corrected(one, seed, "train")
        before, after = ((n.statement, (n.answer,)) for n in (one, later))
        return next(self.changing(one.question, before, after, one.attribute), None)

    def fact(self, facts: MadeFacts, longest: int, index: int, attempt: int) -> Item | None:
        """A made-up fact; None where it is too long."""
        one = facts.fact(index, attempt)
        asked = [PassageQuestion(each.question, (each.answer,)) for each in one.questions]
        if one.later:
            (first,) = asked
            before, after = (one.text, first.answers), (one.later, (one.new_answer,))
            made = next(self.changing(first.question, before, after, one.topic), None)
        else:
            made = self._one(PassageQuestions(one.text, one.topic, tuple(asked)))
        fits = made is not None and all(len(part) <= longest for part in made.parts)
        return made if fits else None

    def _one(self, passage: PassageQuestions) -> Item | None:
        return next(self.passages([passage]), None)

    def changing(
        self,
        question: str,
        before: tuple[str, Sequence[str]],
        after: tuple[str, Sequence[str]],
        topic: str,
    ) -> Iterator[Item]:
        """What is told first and later, each with its answers; nothing where they are too long."""
        parts, made = [], []
        for part, (text, answers) in enumerate((before, after)):
            ids, ends = self.spelling.text(text)
            parts.append(tuple(ids))
            made.append(self.question(question, answers[0], part, *_place(text, answers, ends)))
        found = tuple(one for one in made if one is not None)
        if len(found) == len(parts):
            yield Item(tuple(parts), topic, found)

    def question(
        self, question: str, answer: str, part: int, first: int, last: int
    ) -> TokenQuestion | None:
        asked, told = self.spelling.question(question), self.spelling.answer(answer)
        if len(asked) > _LONGEST_PROMPT or len(told) > LONGEST_ANSWER:
            return None
        return TokenQuestion(tuple(asked), tuple(told), part, first, last)


def _place(text: str, answers: Sequence[str], ends: Sequence[int]) -> tuple[int, int]:
    """First and last token of the answer's first occurrence; all of the text where it has none."""
    lowered = text.lower()
    for answer in answers:
        begin = lowered.find(answer.lower())
        if begin >= 0 and answer:
            first = sum(end <= begin for end in ends)
            last = sum(end < begin + len(answer) for end in ends)
            return min(first, len(ends) - 1), min(last, len(ends) - 1)
    return 0, len(ends) - 1
