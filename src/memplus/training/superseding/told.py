"""What is told so that a rule can be fitted: corrections, and what must not be taken for one.

Among the latter are statements, made-up facts of one kind about several subjects, several facts
about one person, and passages that are longer than a span: spans that look alike, or go on with
each other, without any of them replacing another.

This room knows words only: no tensors and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from memplus.data.made_facts import MadeFact, MadeFacts
from memplus.data.passages import PassageQuestions
from memplus.data.statements import (
    HELD_OUT_TOPICS,
    read_corrections,
    read_statements,
    statement_topics,
)
from memplus.data.stream import Stream, Told, stated_at

__all__ = [
    "Asked",
    "Item",
    "held_out_items",
    "passage_items",
    "tell",
    "tell_alone",
    "training_items",
]

_APART = (1, 3)
"""Sentences between two things told."""
_CORRECTED_AFTER = (0, 5, 20)
"""Items between a thing and its correction."""
_ALIKE = 2
"""Made facts of one relation in a stream."""
_FACTS_EACH = 3
"""Made facts about one person."""
_PEOPLE = 5
"""To so many items of any other kind there is one person about whom facts are told."""
_OF_A_STREAM = 1_000_000
"""Made facts that a stream may draw from, which no other one draws from."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something told, perhaps corrected later, and a question about it."""

    text: str
    question: str
    answers: tuple[str, ...]
    """What is right in the end, in any of these forms."""
    later: str = ""
    """What is said later and changes the answer; empty: nothing is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a stream."""

    question: str
    right: Told
    """Where what is right was told, and the value in it."""
    outdated: Told | None
    """Where it was told what is no longer so."""


def training_items(stream: int, each: int, seed: int) -> list[Item]:
    """What one stream tells: nothing of a held-out topic.

    Args:
        stream: which; made-up facts of two streams have nothing to do with each other.
        each: corrections, statements and made-up facts, at most so many of each kind; facts about
            a few people are told beside them.
        seed: of all streams.
    """
    random = Random(f"superseding/{seed}/{stream}")
    topics = [one for one in statement_topics() if one not in HELD_OUT_TOPICS]
    written = [*_corrections(topics, each, random), *_statements(topics, each, random)]
    facts = MadeFacts(f"superseding/{seed}")
    first, relations = stream * _OF_A_STREAM, len(facts.topics)
    chosen = random.sample(range(relations), min(relations, each // _ALIKE))
    made = [
        facts.fact(first + relation + turn * relations)
        for relation in chosen
        for turn in range(_ALIKE)
    ]
    for person in range(each // _PEOPLE):
        made += facts.about_one(first + person, _FACTS_EACH)
    return [*written, *(_of(one, random) for one in made)]


def held_out_items(each: int, seed: int) -> list[Item]:
    """Corrections and statements of held-out topics, at most so many of each kind."""
    random = Random(f"superseding/{seed}/held out")
    topics = HELD_OUT_TOPICS
    return [*_corrections(topics, each, random), *_statements(topics, each, random)]


def passage_items(
    passages: Sequence[PassageQuestions], stream: int, each: int, seed: int
) -> list[Item]:
    """Passages of one stream, at most so many, with a question about each."""
    random = Random(f"superseding/{seed}/{stream}/passages")
    some = random.sample(passages, min(len(passages), each))
    asked = [(one.text, random.choice(one.questions)) for one in some]
    return [Item(text, one.question, one.answers) for text, one in asked]


def _corrections(topics: Sequence[str], most: int, random: Random) -> list[Item]:
    known = read_corrections(topics)
    some = random.sample(known, min(len(known), most))
    return [Item(one.text, one.question, one.answers, one.later) for one in some]


def _statements(topics: Sequence[str], most: int, random: Random) -> list[Item]:
    known = read_statements(topics)
    some = random.sample(known, min(len(known), most))
    asked = [(one.text, random.choice(one.questions)) for one in some]
    return [Item(text, one.question, one.answers) for text, one in asked]


def _of(fact: MadeFact, random: Random) -> Item:
    if fact.later:
        return Item(fact.text, fact.questions[0].question, (fact.new_answer,), fact.later)
    one = random.choice(fact.questions)
    return Item(fact.text, one.question, (one.answer,))


def tell(stream: Stream, items: Sequence[Item], random: Random) -> list[Asked]:
    """Tell items in an order of chance, corrections some items after what they correct.

    Args:
        stream: grows by them, and by sentences of its text between them.
        items: each is told once.
        random: of the order and the distances.

    Returns:
        A question for each, in the order in which what is right was told.
    """
    return list(_tell(stream, items, random))


def tell_alone(stream: Stream, item: Item) -> Asked:
    """Tell an item and nothing else."""
    told = stream.tell_text(item.text)
    return Asked(item.question, stated_at(told, stream.pieces[-1], item.answers), None)


def _tell(stream: Stream, items: Sequence[Item], random: Random) -> Iterator[Asked]:
    waiting: list[tuple[int, Item, Told]] = []
    for turn, item in enumerate(random.sample(list(items), len(items))):
        told = _add(stream, item.text, item.answers, random)
        if item.later:
            waiting.append((turn + random.choice(_CORRECTED_AFTER), item, told))
        else:
            yield Asked(item.question, told, None)
        for one in sorted((one for one in waiting if one[0] <= turn), key=lambda one: one[0]):
            waiting.remove(one)
            yield _correct(stream, *one[1:], random)
    for _, item, told in waiting:
        yield _correct(stream, item, told, random)


def _correct(stream: Stream, item: Item, earlier: Told, random: Random) -> Asked:
    return Asked(item.question, _add(stream, item.later, item.answers, random), earlier)


def _add(stream: Stream, text: str, values: Sequence[str], random: Random) -> Told:
    stream.read(random.randint(*_APART))
    told = stream.tell_text(text)
    return stated_at(told, stream.pieces[-1], values)
