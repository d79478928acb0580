"""People, relations and organisations made up by rule: what triples are learned and tested on.

A fact is a person, a relation and an organisation. Names are dealt to the splits by a hash of their
text, as in ``notes``; two relations and some wordings are in no training at all.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from memplus.data.note_parts import (
    FIRST_NAMES,
    NAME_HEADS,
    NAME_TAILS,
    WORD_HEADS,
    WORD_TAILS,
    Split,
    split_of,
)

__all__ = [
    "ASKED",
    "QUESTION_KINDS",
    "RELATIONS",
    "UNSEEN_RELATIONS",
    "Fact",
    "QuestionKind",
    "Relation",
    "joined",
    "make_organisations",
    "make_people",
    "question_about",
    "statement_of",
]

QuestionKind = Literal["p", "po", "pr", "o", "r", "ro"]
QUESTION_KINDS: tuple[QuestionKind, ...] = ("p", "po", "pr", "o", "r", "ro")
"""What is known in a question: the person, the relation, the organisation."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of people to organisations: ``X is SINGULAR Y``, ``X and Z are PLURAL Y``."""

    name: str
    singular: str
    plural: str
    alias: str = ""
    """Another way to say it after ``is``, where there is one."""


def _noun(name: str, alias: str = "") -> Relation:
    role, _, preposition = name.rpartition(" ")
    article = "an" if name[0] in "aeiou" else "a"
    return Relation(name, f"{article} {name}", f"{role}s {preposition}", alias)


RELATIONS = (
    Relation("employed by", "employed by", "employed by", "hired by"),
    _noun("manager of", "head of"),
    _noun("investor in", "backer of"),
    _noun("founder of", "creator of"),
    _noun("customer of", "buyer from"),
    _noun("adviser to"),
    _noun("partner of"),
    _noun("supplier to"),
    _noun("lawyer for"),
    _noun("driver for"),
    _noun("owner of"),
    Relation("insured by", "insured by", "insured by"),
    Relation("trained at", "trained at", "trained at"),
)
"""The first five are the paper's; the others keep a model from knowing these by heart."""
UNSEEN_RELATIONS = (_noun("auditor of"), _noun("sponsor of"))
"""In no training."""

_KINDS_OF_FIRMS = (
    "Mills Lines Works Foods Bank Motors Tools Press Farms Labs Group Trading Shipping Textiles "
    "Energy Paper Glass Optics Steel Travel Brewery Clinic Airways Museum Records"
).split()

_ONE: dict[Split, tuple[str, ...]] = {
    "train": (
        "{p} is {r} {o}.",
        "{p} is {r} {o}.",
        "We heard that {p} is {r} {o}.",
        "Remember that {p} is {r} {o}.",
        "Since last year {p} has been {r} {o}.",
        "{p}, who lives nearby, is {r} {o}.",
        "They say {p} is {r} {o}.",
        "Did you know that {p} is {r} {o}?",
    ),
    "held_out": (
        "It is said that {p} is {r} {o}.",
        "As far as we know, {p} is {r} {o}.",
        "For some time now {p} has been {r} {o}.",
        "By the way, {p} is {r} {o}.",
    ),
}
_MANY: dict[Split, tuple[str, ...]] = {
    "train": (
        "{p} are {r} {o}.",
        "{p} are {r} {o}.",
        "Remember that {p} are {r} {o}.",
        "All of them, {p}, are {r} {o}.",
    ),
    "held_out": ("It is said that {p} are {r} {o}.", "As far as we know, {p} are {r} {o}."),
}
ASKED: dict[Split, dict[QuestionKind, tuple[str, ...]]] = {
    "train": {
        "p": ("Who is {p}?", "What do you know about {p}?", "Tell me about {p}."),
        "po": (
            "How are {p} and {o} related?",
            "What does {p} have to do with {o}?",
            "What is {p} to {o}?",
        ),
        "pr": (
            "Which company is {p} {r}?",
            "Name the organisation that {p} is {r}.",
            "What is {p} {r}?",
        ),
        "o": (
            "Who is related to {o}?",
            "Which people have to do with {o}?",
            "Who is connected with {o}?",
        ),
        "r": (
            "Who is {r} any company?",
            "Which people are {r} some organisation?",
            "Name everybody who is {r} a company.",
        ),
        "ro": ("Who is {r} {o}?", "Which people are {r} {o}?", "Name everybody who is {r} {o}."),
    },
    "held_out": {
        "p": ("Do you know who {p} is?", "What can you tell me about {p}?"),
        "po": ("In what way are {p} and {o} related?",),
        "pr": ("Can you tell me which company {p} is {r}?",),
        "o": ("Do you know who is related to {o}?",),
        "r": ("Do you know who is {r} any company?",),
        "ro": ("Do you know who is {r} {o}?", "Can you tell me who is {r} {o}?"),
    },
}
"""Wordings of the six kinds of question."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A person stands in a relation to an organisation."""

    person: str
    relation: Relation
    organisation: str

    @property
    def triple(self) -> tuple[str, str, str]:
        """Its three texts."""
        return self.person, self.relation.name, self.organisation


def make_people(random: Random, count: int, split: Split) -> list[str]:
    """Different names of people of a split."""
    names: dict[str, None] = {}
    while len(names) < count:
        last = random.choice(NAME_HEADS) + random.choice(NAME_TAILS)
        name = f"{random.choice(FIRST_NAMES)} {last}"
        if split_of(name) == split:
            names[name] = None
    return list(names)


def make_organisations(random: Random, count: int, split: Split) -> list[str]:
    """Different names of organisations of a split."""
    names: dict[str, None] = {}
    while len(names) < count:
        name = _organisation(random)
        if split_of(name) == split:
            names[name] = None
    return list(names)


def _organisation(random: Random) -> str:
    form = random.random()
    word = (random.choice(WORD_HEADS) + random.choice(WORD_TAILS)).capitalize()
    last = random.choice(NAME_HEADS) + random.choice(NAME_TAILS)
    if form < 0.3:
        return f"{word} {random.choice(_KINDS_OF_FIRMS)}"
    if form < 0.55:
        return f"{last} {random.choice(_KINDS_OF_FIRMS)}"
    if form < 0.7:
        other = random.choice(NAME_HEADS) + random.choice(NAME_TAILS)
        return f"{last} & {other}"
    if form < 0.85:
        return word
    return f"{word} {last} {random.choice(_KINDS_OF_FIRMS)}"


def joined(names: Sequence[str]) -> str:
    """Names in a sentence: ``A``, ``A and B``, ``A, B and C``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def statement_of(
    people: Sequence[str], relation: Relation, organisation: str, random: Random, split: Split
) -> str:
    """A sentence that says it of one or several people."""
    wording = random.choice((_MANY if len(people) > 1 else _ONE)[split])
    said = relation.plural if len(people) > 1 else relation.singular
    return wording.format(p=joined(people), r=said, o=organisation)


def question_about(
    kind: QuestionKind, fact: Fact, random: Random, split: Split, *, alias: bool = False
) -> str:
    """A question of a kind to which a fact belongs.

    Args:
        kind: what of the fact is known.
        fact: what is asked for.
        random: chooses the wording.
        split: of the wordings.
        alias: say the relation in its other words.
    """
    wording = random.choice(ASKED[split][kind])
    many = " are {r}" in wording
    said = fact.relation.plural if many else fact.relation.singular
    if alias:
        said = fact.relation.alias
    return wording.format(p=fact.person, r=said, o=fact.organisation)
