"""Passages and their questions as token ids, and the stretches of them that a document is told.

No tensors and no model: a ``Spelling`` is all that is needed of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from memplus.config import require
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
from memplus.training.engine.common_config import STRICT

__all__ = [
    "Item",
    "QuestionSource",
    "Spelling",
    "Stretch",
    "TokenQuestion",
    "encode_source",
    "stretch",
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


_LONGEST_ANSWER = 16
_LONGEST_PROMPT = 36
_FIRST_TOLD = 0.3
"""Share of corrections of which only the first part is told, and asked for."""
_APART = (1, 4)
"""Passages between a statement and its correction."""


@dataclass(frozen=True)
class QuestionSource:
    """Where passages and questions come from, without what is held out."""

    __pydantic_config__ = STRICT

    kind: Literal["squad", "nq", "fairytale", "statements", "corrections"]
    """The format of a file, or one of the sets that come with the package."""
    path: Path | None = None
    """The file; none for ``statements`` and ``corrections``."""
    weight: float = 1.0
    """Its share of the passages, relative to the other sources."""
    max_tokens: int = 400
    """Longer passages are left out."""

    def __post_init__(self) -> None:
        bundled = self.kind in ("statements", "corrections")
        reason = "it comes with the package" if bundled else "it needs a file"
        require((self.path is None) == bundled, "path", self.path, reason)
        require(self.weight > 0, "weight", self.weight, "it must be above 0")
        require(self.max_tokens >= 16, "max_tokens", self.max_tokens, "it must be at least 16")


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


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a document is told in one pass, and what can be asked about it."""

    ids: list[int]
    questions: list[tuple[TokenQuestion, int, int]]
    """Each with the first and last token of ``ids`` that can hold its answer."""


def encode_source(source: QuestionSource, spelling: Spelling) -> list[Item]:
    """Everything of a source that may be trained on.

    Raises:
        NotFoundError, StorageError, QuestionSetError: its file cannot be read.
    """
    made = _Maker(spelling)
    if source.kind == "corrections":
        return list(made.corrections())
    items = made.passages(_passages(source))
    return [one for one in items if len(one.parts[0]) <= source.max_tokens]


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
            (before, before_ends), (after, after_ends) = map(
                self.spelling.text, (one.text, one.later)
            )
            place = _place(one.text, one.outdated, before_ends)
            old = self.question(one.question, one.outdated[0], 0, *place)
            place = _place(one.later, one.answers, after_ends)
            new = self.question(one.question, one.answers[0], 1, *place)
            if old is not None and new is not None:
                yield Item((tuple(before), tuple(after)), one.topic, (old, new))

    def question(
        self, question: str, answer: str, part: int, first: int, last: int
    ) -> TokenQuestion | None:
        asked, told = self.spelling.question(question), self.spelling.answer(answer)
        if len(asked) > _LONGEST_PROMPT or len(told) > _LONGEST_ANSWER:
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


def stretch(
    length: int,
    draw: Callable[[], Item],
    between: Sequence[Sequence[int]],
    random: Random,
) -> Stretch:
    """Passages one after another until ``length`` tokens are full; the last one is cut.

    Args:
        length: tokens.
        draw: the next item.
        between: what may stand between two passages, as token ids.
        random: of what is drawn here.
    """
    ids: list[int] = []
    questions: list[tuple[TokenQuestion, int, int]] = []
    waiting: list[tuple[int, Item]] = []

    def tell(item: Item, part: int, *, only: bool) -> None:
        if ids:
            ids.extend(random.choice(between))
        begin = len(ids)
        ids.extend(item.parts[part])
        for one in item.questions:
            # Of what is corrected later, only the later value is asked for.
            if one.part == part and (only or part == len(item.parts) - 1):
                questions.append((one, begin + one.first, begin + one.last))

    turn = 0
    while len(ids) < length:
        turn += 1
        due = [one for one in waiting if one[0] <= turn]
        if due:
            waiting.remove(due[0])
            tell(due[0][1], 1, only=False)
            continue
        item = draw()
        only = len(item.parts) == 1 or random.random() < _FIRST_TOLD
        tell(item, 0, only=only)
        if not only:
            waiting.append((turn + 1 + random.randint(*_APART), item))
    kept = [one for one in questions if one[2] < length]
    return Stretch(ids[:length], kept)
