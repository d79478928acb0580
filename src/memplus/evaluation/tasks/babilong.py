"""BABILong (2406.10149): facts of a bAbI story among sentences of books, and a question about them.

The facts stand in their order, each whole between two sentences, at places of chance. A text is as
long as its length says, less 300 tokens for what stands around it in a prompt, as the published
texts are; at length 0 it is the facts alone. An answer is right by the published rule for labels
(``judging.named``): the right label and no other is named, those in the question left aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Self

from memplus.data.babi import BabiQuestion, read_babi, read_indices
from memplus.data.corpus import read_texts
from memplus.data.stream import Piece, Reference, RunningText, Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs, Need
from memplus.evaluation.tasks.sizes import require_each, require_least

__all__ = ["TASK_LABELS", "BabilongTask", "labels_of"]

_ROOM = 300
"""Tokens of every length that are left to the prompt."""
_PROSE = 500_000
"""Tokens of prose that short texts draw their sentences from."""
_SOURCE = "text"
_LICENCE = "BSD, as facebookarchive/bAbI-tasks; the data themselves say CC BY 3.0"
_BABI = Need("babi/babi_tasks_1-20_v1-2_en.zip", _LICENCE, "bAbI's tasks 1 to 20, version 1.2")
_INDICES = Need(
    "babi/babilong_test_100_idxs.json", "Apache-2.0", "the questions that BABILong asks"
)
_NOVELS = Need("books_litbank/litbank_100_books.jsonl.gz", "public domain", "a hundred novels")

_PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
TASK_LABELS: dict[int, tuple[str, ...]] = {
    1: _PLACES,
    2: _PLACES,
    3: _PLACES,
    4: _PLACES,
    5: ("Bill", "Fred", "Jeff", "Mary", "apple", "football", "milk"),
    6: ("no", "yes"),
    7: ("none", "one", "two", "three"),
    8: ("apple", "football", "milk", "nothing"),
    9: ("no", "yes"),
    10: ("maybe", "no", "yes"),
}
"""Task -> all that can be an answer. "three" and the labels of task 8 are ours: the published
rule has none, though they are answers there."""

_LATEST = "The text says, in single sentences, where people are; what is said last holds."
_CARRIED = (
    "The text says, in single sentences, where people go and what they take and leave. Things are "
    "where whoever carries them is, and stay where they were left."
)
_HANDS = "The text says, in single sentences, what people take, leave and give to each other."
_ONE_WORD = "Answer in one word."
_INSTRUCTIONS = {
    1: f"{_LATEST} {_ONE_WORD}",
    2: f"{_CARRIED} {_ONE_WORD}",
    3: f"{_CARRIED} {_ONE_WORD}",
    4: f"The text says, in single sentences, which place lies in which direction. {_ONE_WORD}",
    5: f"{_HANDS} {_ONE_WORD}",
    6: f"{_LATEST} Answer yes or no.",
    7: f"{_HANDS} Answer with a number as a word, or none.",
    8: f"{_HANDS} Answer with the things, with commas between them, or nothing.",
    9: f"{_LATEST} Answer yes or no.",
    10: f"{_LATEST} Answer yes, no or maybe.",
}


@dataclass(frozen=True)
class BabilongTask(BenchTask):
    """Facts among sentences of books (2406.10149)."""

    name: ClassVar[str] = "babilong"
    title: ClassVar[str] = "BABILong: facts among sentences of books"
    axis: ClassVar[str] = "tokens of the text"
    judge: ClassVar[Judge] = Judge("labels", max_new_tokens=20)
    needs: ClassVar[tuple[Need, ...]] = (_BABI,)
    uses: ClassVar[tuple[Need, ...]] = (_NOVELS, _INDICES)

    lengths: tuple[int, ...] = (
        *(0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000),
        *(128_000, 256_000, 512_000, 1_000_000),
    )
    """Tokens of the texts, 300 of which are left to the prompt; 0: the facts alone."""
    tasks: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Which of bAbI's tasks, 1 to 10."""
    items: int = 100
    """Questions of every task at every length; the first 100 are the published ones where the file
    that names them is there."""
    instructed: bool = True
    """Whether a sentence before the question says how it should be answered."""
    novels: bool = True
    """Whether the facts stand in the novels of ``books_litbank``, where these are there; otherwise
    in the prose that is given."""
    seed: int = 0
    """Of the texts and the sessions."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, something twice, or a task that there is not.
        """
        require_each("lengths", self.lengths)
        require_each("tasks", self.tasks)
        for task in self.tasks:
            if task not in TASK_LABELS:
                raise ConfigError("tasks", value=task, reason="there are 1 to 10")
        for length in self.lengths:
            if 0 != length <= _ROOM:
                reason = f"{_ROOM} tokens are left to the prompt; 0 is the facts alone"
                raise ConfigError("lengths", value=length, reason=reason)
        require_least("items", self.items)

    @classmethod
    def small(cls) -> Self:
        """Six questions of two tasks, alone and in texts of 1000 tokens, some 12,000 in all."""
        return cls(lengths=(0, 1_000), tasks=(1, 2), items=6)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """See ``BenchTask.plans``; one for every question at every length."""
        questions = {task: self._chosen(task, inputs) for task in self.tasks}
        texts = self._texts(inputs)
        return [
            self._plan(task, length, chosen, texts, inputs.reference)
            for length in self.lengths
            for task in self.tasks
            for chosen in questions[task]
        ]

    def _texts(self, inputs: Inputs) -> Texts | None:
        """What the facts stand in; None where they stand alone."""
        longest = max(self.lengths)
        if not longest:
            return None
        if self.novels and inputs.has(_NOVELS):
            path = inputs.path(_NOVELS)
            inputs = replace(inputs, read_prose=lambda: list(read_texts([path])))
        return inputs.texts(max(_PROSE, 2 * longest))

    def _chosen(self, task: int, inputs: Inputs) -> list[tuple[int, BabiQuestion]]:
        """The questions of a task, each with its number in the test file."""
        found = read_babi(inputs.path(_BABI), task)
        official = read_indices(inputs.path(_INDICES)) if inputs.has(_INDICES) else {}
        first = official.get(task, [])
        if not all(0 <= index < len(found) for index in first):
            reason = f"task {task} has {len(found)} questions, and its indices name others"
            raise ConfigError("tasks", value=task, reason=reason)
        others = [index for index in range(len(found)) if index not in set(first)]
        Random(f"{self.seed} {task}").shuffle(others)
        order = [*first, *others][: self.items]
        if len(order) < self.items:
            reason = f"task {task} has {len(found)} questions"
            raise ConfigError("items", value=self.items, reason=reason)
        return [(index, found[index]) for index in order]

    def _plan(
        self,
        task: int,
        length: int,
        chosen: tuple[int, BabiQuestion],
        texts: Texts | None,
        reference: Reference,
    ) -> Plan:
        index, item = chosen
        name = f"qa{task}, {length} tokens, question {index}"
        random = Random(f"{self.seed} {name}")
        facts = _pieces_of(item.facts, reference)
        noise = [] if texts is None else list(_noise(texts, random, facts, length))
        pieces = list(_among(noise, facts, random))
        tokens = sum(len(piece) for piece in pieces)
        asked = Question(
            key=f"qa{task}",
            kind=f"qa{task}",
            text=f"{_INSTRUCTIONS[task]}\n{item.question}" if self.instructed else item.question,
            answers=tuple(item.answer.split(",")),
            wanted=length,
            distance=tokens,
            options=labels_of(task, item),
        )
        step = Step(tuple(one.text for one in pieces), tokens, _SOURCE, (asked,), flush=True)
        return Plan(name, self.seed, (step,), (asked,))


def labels_of(task: int, item: BabiQuestion) -> tuple[str, ...]:
    """What can be named in answer to a question; what the question names itself does not count."""
    return tuple(
        label
        for label in TASK_LABELS[task]
        if label in item.answer.split(",") or not re.search(rf"\b{label}\b", item.question, re.I)
    )


def _pieces_of(sentences: Sequence[str], reference: Reference) -> list[Piece]:
    """Sentences, each behind a blank."""
    texts = [f" {one}" for one in sentences]
    return [Piece(text, ends) for text, ends in zip(texts, reference(texts), strict=True)]


def _noise(texts: Texts, random: Random, facts: Sequence[Piece], length: int) -> Iterator[Piece]:
    """Sentences that fill a length up, all of them whole."""
    left = length - _ROOM - sum(len(fact) for fact in facts)
    running = RunningText(texts, random.randrange(2**32))
    while left > 0:
        piece = running.take()
        if not piece.text[:1].isspace():  # the first sentence of a text
            (piece,) = _pieces_of([piece.text], texts.reference)
        left -= len(piece)
        if left >= 0:
            yield piece


def _among(noise: Sequence[Piece], facts: Sequence[Piece], random: Random) -> Iterator[Piece]:
    """Facts in their order between sentences; several may stand at one place."""
    places = sorted(random.choices(range(len(noise) + 1), k=len(facts)))
    at = 0
    for place, fact in zip(places, facts, strict=True):
        yield from noise[at:place]
        yield fact
        at = place
    yield from noise[at:]
