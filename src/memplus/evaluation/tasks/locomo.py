"""LoCoMo: conversations over months, questions of five categories (2402.17753).

Sessions are written in their order, each under a name of its own, with its date and who speaks; all
questions about a conversation are asked when it has been written. Answers are scored as published:
stems in common with the key (F1); of multi-hop questions each part of the key, between its commas,
with the best part of what was said; of open-domain questions the key up to its semicolon. Nothing
answers an adversarial question: it is right to decline, in the system's own way or in the words
that the published script looks for.

The key is known to be wrong in places. Where a list of these lies beside the data, every score is
given with those questions and without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from random import Random
from typing import Any, ClassVar, Self

from memplus.data.locomo import (
    CATEGORIES,
    Conversation,
    ConversationQuestion,
    ConversationSession,
    read_known_errors,
    read_locomo,
)
from memplus.data.stream import Reference, Told
from memplus.data.wording import bare
from memplus.errors import ConfigError
from memplus.evaluation.engine.evidence_recall import PLACES, SOURCES
from memplus.evaluation.engine.figures import Figure, means, pooled, repeated, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs, Need
from memplus.evaluation.tasks.dialogue import turns_of
from memplus.evaluation.tasks.sizes import require_least

__all__ = ["LocomoTask"]

_LICENCE = "CC BY-NC 4.0, for non-commercial use"
CONVERSATIONS = Need("locomo/locomo10.json.gz", _LICENCE, "LoCoMo's ten conversations")
KNOWN_ERRORS = Need("locomo/known_errors.json.gz", _LICENCE, "a list of wrong answers in its key")
_MULTI_HOP, _OPEN_DOMAIN, _ADVERSARIAL = CATEGORIES[1], CATEGORIES[3], CATEGORIES[5]
_ALL = "all with an answer"
_WRONG_KEY = "wrong key"
_DECLINED = ("no information available", "not mentioned")
"""What the published script takes for declining."""


@dataclass(frozen=True)
class LocomoTask(BenchTask):
    """Long conversations of two people."""

    name: ClassVar[str] = "locomo"
    title: ClassVar[str] = "LoCoMo"
    axis: ClassVar[str] = "whole conversations"
    judge: ClassVar[Judge] = Judge("stemmed_f1", max_new_tokens=48, explained=True)
    needs: ClassVar[tuple[Need, ...]] = (CONVERSATIONS,)
    uses: ClassVar[tuple[Need, ...]] = (KNOWN_ERRORS,)

    conversations: int = 10
    """How many of them, from the first one on."""
    sessions: int = 0
    """Sessions of each that are told, from the first one on; only what these answer is asked.
    0: all of them, and everything is asked."""
    items: int = 1_000
    """Most questions of each category about one conversation."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked.
        """
        require_least("conversations", self.conversations)
        require_least("items", self.items)
        if self.sessions < 0:
            raise ConfigError("sessions", value=self.sessions, reason="0 tells all of them")

    @classmethod
    def small(cls) -> Self:
        """The first sessions of one conversation, 12 questions of each category."""
        return cls(conversations=1, sessions=8, items=12)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """See ``BenchTask.plans``; one for each conversation."""
        found = read_locomo(inputs.path(CONVERSATIONS))[: self.conversations]
        wrong: frozenset[tuple[int, int]] = frozenset()
        if inputs.has(KNOWN_ERRORS):
            wrong = read_known_errors(inputs.path(KNOWN_ERRORS))
        return [
            self._plan(one, {at for of, at in wrong if of == index}, inputs.reference)
            for index, one in enumerate(found)
        ]

    def _plan(self, talk: Conversation, wrong: set[int], reference: Reference) -> Plan:
        steps: list[Step] = []
        places: dict[str, Told] = {}
        for session in talk.sessions[: self.sessions or None]:
            pieces = _pieces(talk, session)
            ends = list(accumulate(len(found) for found in reference(list(pieces))))
            source = f"session {session.number}"
            for index, turn in enumerate(session.turns):
                places[turn.id] = Told(source, ends[index], ends[index + 1])
            speakers = [turn.speaker for turn in session.turns]
            turns = turns_of(speakers, speakers[0])
            steps.append(Step(pieces, ends[-1], source, (), turns=turns))
        chosen = self._chosen(talk, places.keys())
        once = tuple(_question(one, wrong=one.index in wrong) for one in chosen)
        asked = tuple(
            replace(question, evidence=tuple(places[turn] for turn in one.evidence))
            for question, one in zip(once, chosen, strict=True)
        )
        steps[-1] = replace(steps[-1], questions=asked)
        return Plan(talk.id, self.seed, tuple(steps), once)

    def _chosen(self, talk: Conversation, told: Set[str]) -> list[ConversationQuestion]:
        """As many of each category as are asked, in their order.

        Args:
            talk: all of it.
            told: the turns that are told.
        """

        def answered(one: ConversationQuestion) -> bool:
            return not self.sessions or (bool(one.evidence) and told >= set(one.evidence))

        random = Random(f"{self.seed} {talk.id}")
        chosen = []
        for category in CATEGORIES:
            mine = [one for one in talk.questions if one.category == category and answered(one)]
            chosen += random.sample(mine, min(self.items, len(mine)))
        return sorted(chosen, key=lambda one: one.index)

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """F1 by category and of all, abstaining, both without wrong keys, and evidence found."""
        return list(_figures(list(lines)))

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """F1 of all that has an answer, by the published key."""
        answered = [line for line in lines if line["kind"] != _ADVERSARIAL]
        return means(pooled(answered), "F1", lambda line: float(line["credit"]))


def _figures(lines: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    answered = [line for line in lines if line["kind"] != _ADVERSARIAL]
    pooled = repeated({**line, "kind": _ALL} for line in answered)
    yield from means([*answered, *pooled], "F1", lambda line: float(line["credit"]))
    sound = [line for line in [*answered, *pooled] if _WRONG_KEY not in line.get("marks", ())]
    if len(sound) < len(answered) + len(pooled):
        yield from means(sound, "F1 without wrong keys", lambda line: float(line["credit"]))
    adversarial = [line for line in lines if line["kind"] == _ADVERSARIAL]
    told = [{**line, "abstained": _abstains(line)} for line in adversarial]
    yield from shares(told, "abstained", "abstained")
    for measure, key in (("turns found", PLACES), ("sessions found", SOURCES)):
        named = [line for line in [*answered, *pooled] if key in line]
        yield from means(named, measure, itemgetter(key))


def _abstains(line: Mapping[str, Any]) -> bool:
    said = bare(line["said"])
    return bool(line["declined"]) or any(words in said for words in _DECLINED)


def _pieces(talk: Conversation, session: ConversationSession) -> tuple[str, ...]:
    """A session as text: when it was, then a line for each turn."""
    first, second = talk.speakers
    lines = [f"{first} and {second} talk, {session.date}.\n"]
    for turn in session.turns:
        picture = f" [shows {turn.picture}]" if turn.picture else ""
        lines.append(f"{turn.speaker}: {turn.text}{picture}\n")
    return tuple(lines)


def _question(one: ConversationQuestion, *, wrong: bool) -> Question:
    kind = CATEGORIES[one.category]
    marks = (_WRONG_KEY,) if wrong else ()
    key = f"qa{one.index}"
    if kind == _ADVERSARIAL:
        return Question(key, kind, one.text, (), marks=marks)
    if kind == _MULTI_HOP:
        parts = tuple(part.strip() for part in one.answer.split(","))
        return Question(key, kind, one.text, parts, rule="stemmed_parts", marks=marks)
    answer = one.answer.split(";")[0].strip() if kind == _OPEN_DOMAIN else one.answer
    return Question(key, kind, one.text, (answer,), marks=marks)
