"""LongMemEval: months of chat with an assistant, six types of questions, abstention (2410.10813).

Histories are read from one of its files, where a person has them, or made by rule in the same
format out of held-out statements (``data.longmemeval_made``). Sessions are written in the order of
their dates, each under a name of its own; what is asked about a history is asked after the last.

There is no judge of free text: an answer is right if the key stands in it, and words in common are
given beside it. Where the key is a description of a good answer (preferences, in the files), both
say little. Nothing answers questions of the kind abstention: it is right to decline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from random import Random
from typing import Any, ClassVar, Self

from memplus.data.longmemeval import (
    TYPES,
    ChatQuestion,
    ChatSession,
    History,
    read_longmemeval,
)
from memplus.data.longmemeval_made import Material, make_history
from memplus.data.statements import (
    HELD_OUT_TOPICS,
    Correction,
    Statement,
    StatementQuestion,
    read_statements,
    statement_topics,
)
from memplus.data.stream import Reference, RunningText, Told
from memplus.evaluation.engine.evidence_recall import PLACES, SOURCES
from memplus.evaluation.engine.figures import Figure, best_f1, means, pooled, repeated, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs, Need
from memplus.evaluation.tasks.dialogue import turns_of
from memplus.evaluation.tasks.held_out import HeldOut, statement_items
from memplus.evaluation.tasks.sizes import require_each, require_least
from memplus.evaluation.tasks.told import Item

__all__ = ["LongMemEvalTask"]

_ABSTENTION = "abstention"
_ALL = "all with an answer"
_TEMPORAL, _UPDATE = "temporal-reasoning", "knowledge-update"
_SENTENCES = 6
"""Of a passage that is shown in a made history."""
_EVERY_ONE = 10_000
"""More statements than there are."""
_SPOKEN_AS = {"user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class LongMemEvalTask(BenchTask):
    """Chats over months."""

    name: ClassVar[str] = "longmemeval"
    title: ClassVar[str] = "LongMemEval"
    axis: ClassVar[str] = "tokens of a made history"
    judge: ClassVar[Judge] = Judge("contains", max_new_tokens=48, explained=True)

    lengths: tuple[int, ...] = (16_000, 115_000)
    """Tokens of histories made by rule, one for each."""
    items: int = 10
    """Most questions of each type, and of abstention; of a file, in all."""
    file: str = ""
    """A file of LongMemEval in the folder longmemeval of the data; empty: histories are made."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, or something twice.
        """
        require_least("items", self.items)
        require_each("lengths", self.lengths, 1)

    @classmethod
    def small(cls) -> Self:
        """Two made histories, four questions of each type about each."""
        return cls(lengths=(2_000, 6_000), items=4)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """See ``BenchTask.plans``; one for each history."""
        if self.file:
            what = f"one of LongMemEval's files, {self.file}"
            need = Need(f"longmemeval/{self.file}", "MIT", what)
            chosen = self._chosen(read_longmemeval(inputs.path(need)))
            return [
                self._plan(f"history {index}", one, inputs.reference, None)
                for index, one in enumerate(chosen)
            ]
        return [
            self._plan(f"{length} tokens", self._made(length, inputs), inputs.reference, length)
            for length in self.lengths
        ]

    def _made(self, length: int, inputs: Inputs) -> History:
        telling = HeldOut(statement_items((0,), (0,))).deal(_EVERY_ONE, self.seed)
        text = RunningText(inputs.texts(length), self.seed)
        topics = [topic for topic in statement_topics() if topic not in HELD_OUT_TOPICS]
        material = Material(
            statements=[_statement(one) for one in telling.items if not one.earlier],
            corrections=[_correction(one) for one in telling.items if one.earlier],
            untold=[_statement(one) for one in telling.untold],
            others=read_statements(topics),
            passage=lambda: "".join(text.take().text for _ in range(_SENTENCES)),
        )
        return make_history(length, self.items, self.seed, material, inputs.reference)

    def _chosen(self, histories: Sequence[History]) -> list[History]:
        """Histories with as many questions of each kind as are asked, by chance."""
        random = Random(f"{self.seed} {self.file}")
        asked = [one for history in histories for one in history.questions]
        kept: set[str] = set()
        for kind in (*TYPES, _ABSTENTION):
            mine = [one.id for one in asked if _kind(one) == kind]
            kept.update(random.sample(mine, min(self.items, len(mine))))
        found = [
            replace(one, questions=tuple(q for q in one.questions if q.id in kept))
            for one in histories
        ]
        return [one for one in found if one.questions]

    def _plan(self, name: str, history: History, reference: Reference, length: int | None) -> Plan:
        steps, places = _written(history.sessions, reference)
        once = tuple(_question(one, length) for one in history.questions)
        asked = tuple(
            replace(question, evidence=tuple(_evidence(one, places)))
            for question, one in zip(once, history.questions, strict=True)
        )
        steps[-1] = replace(steps[-1], questions=asked)
        return Plan(name, self.seed, tuple(steps), once)

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Contained, F1, what was outdated, what was rightly declined, and sessions found."""
        return list(_figures(list(lines)))

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """The answer is contained, of all that has one."""
        answered = [line for line in lines if line["kind"] != _ABSTENTION]
        return shares(pooled(answered), "contained")


def _figures(lines: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    answered = [line for line in lines if line["kind"] != _ABSTENTION]
    answered += repeated({**line, "kind": _ALL} for line in answered)
    yield from shares(answered, "contained")
    yield from means(answered, "F1", best_f1)
    yield from shares([one for one in lines if one["kind"] == _UPDATE], "outdated", "outdated")
    yield from shares([one for one in lines if one["kind"] == _ABSTENTION], "declined", "declined")
    for measure, key in (("sessions found", SOURCES), ("turns found", PLACES)):
        yield from means([one for one in answered if key in one], measure, itemgetter(key))


def _statement(item: Item) -> Statement:
    questions = tuple(StatementQuestion(text, answers) for text, answers in item.questions)
    return Statement(item.text, item.topic, questions)


def _correction(item: Item) -> Correction:
    ((text, answers),) = item.questions
    return Correction(item.earlier, item.text, item.topic, text, answers, (item.outdated or "",))


def _written(
    sessions: Sequence[ChatSession], reference: Reference
) -> tuple[list[Step], dict[tuple[str, int], Told]]:
    """What is written, a session a step; and where the turns of each session stand in it."""
    steps: list[Step] = []
    places: dict[tuple[str, int], Told] = {}
    for session in sessions:
        spoken = [f"{_SPOKEN_AS[turn.role]}: {turn.text}\n" for turn in session.turns]
        pieces = (f"A chat of {session.date}.\n", *spoken)
        ends = list(accumulate(len(found) for found in reference(list(pieces))))
        for index in range(len(spoken)):
            places[session.id, index] = Told(session.id, ends[index], ends[index + 1])
        turns = turns_of([turn.role for turn in session.turns], "user")
        steps.append(Step(pieces, ends[-1], session.id, (), turns=turns))
    return steps, places


def _evidence(one: ChatQuestion, places: Mapping[tuple[str, int], Told]) -> Iterator[Told]:
    """The turns that answer it; all of a session where none of them is named."""
    yield from (places[turn] for turn in one.turns)
    named = {session for session, _ in one.turns}
    for session in one.sessions:
        if session not in named:
            yield from (told for (name, _), told in places.items() if name == session)


def _kind(one: ChatQuestion) -> str:
    return _ABSTENTION if one.abstains else one.type


def _question(one: ChatQuestion, length: int | None) -> Question:
    text = f"Today is {one.date}. {one.text}" if one.type == _TEMPORAL else one.text
    answers = () if one.abstains else one.answers
    return Question(one.id, _kind(one), text, answers, length, outdated=one.outdated)
