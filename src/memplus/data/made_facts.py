"""Ordinary-sounding facts about made-up people and things, corrections among them, without end.

Each follows from a seed and its index alone. What may be said is written by hand
(``assets/facts/made``): for each relation how it is told, asked and corrected; subjects and values
are drawn from sets so large that nobody can know an answer but who was told. Facts of one relation
look alike: other subjects, other values. Nothing of the held-out statements is used.

This room knows words only: no tensors and no tokenizer.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from memplus.data.documents import read_document
from memplus.data.made_values import MadeValues

__all__ = ["FactRelation", "MadeFact", "MadeFacts", "MadeQuestion", "fact_relations"]

_FACTS = Path(__file__).parents[1] / "assets" / "facts"
_CORRECTED = 0.4
"""Share of facts that are corrected later."""
_PAIRED = 0.2
"""Share of statements that tell the same of two subjects."""
_LED = 0.12
"""Share of statements that stand behind a clause such as "By the way"."""
_AROUND = 0.18
"""Share of statements with small talk before them, and of those with some behind them."""
_GENERAL = 0.35
"""Share of corrections that a general clause leads to, such as "It turns out that"."""
_PLAIN = 3
"""The first so many wordings of a relation can stand behind such a clause."""
_SHORTER = 0.4
"""Share of questions and corrections that call "my colleague Jana" just "Jana"."""
_PERSON = "{who}"
"""The subject of relations that people stand in."""
_ROLE = re.compile(r"\b(?:my|our) (?:[a-z-]+ ){1,2}(?=[A-Z])")
_START = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")


@dataclass(frozen=True, slots=True)
class FactRelation:
    """What may be said of a kind of subject, how, and how one asks for it.

    In wordings {S} is the subject and {V} the value; {T} and {U} are another subject and its value;
    {O} is the value before a correction; {W} and {X} are further things about the subject.
    """

    topic: str
    values: Mapping[str, str]
    """How S, V and, where there are any, W and X are made."""
    told: tuple[str, ...]
    pair: tuple[str, ...]
    """About two subjects at once."""
    later: tuple[str, ...]
    """Corrections."""
    asked: Mapping[str, tuple[str, ...]]
    """Questions for V, W and X."""
    lists: Mapping[str, tuple[str, ...]]
    """Of slots that only this relation has."""


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question, and the answer as it stands in the text."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class MadeFact:
    """A statement and what can be asked about it; perhaps corrected later."""

    topic: str
    """Its relation."""
    text: str
    questions: tuple[MadeQuestion, ...]
    later: str = ""
    """What is said later and changes the answer to the first question; empty: nothing is."""
    new_answer: str = ""


@cache
def fact_relations() -> tuple[FactRelation, ...]:
    """All there are, in the order of their files."""
    files = sorted((_FACTS / "made").glob("*.toml"))
    return tuple(_relation(one) for path in files for one in _read(path)["relation"])


@cache
def _words() -> dict[str, tuple[str, ...]]:
    found = _read(_FACTS / "made_words.toml")
    return {name: _listed(one) for name, one in found.items()}


class MadeFacts:
    """Facts by their index.

    Args:
        seed: the same seed gives the same facts.
    """

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._values = MadeValues(_words())

    @property
    def topics(self) -> tuple[str, ...]:
        """Fact ``index`` is of topic ``index`` modulo their number."""
        return tuple(one.topic for one in fact_relations())

    def fact(self, index: int, attempt: int = 0) -> MadeFact:
        """One fact.

        Args:
            index: which.
            attempt: another fact in its place, of the same topic.
        """
        relations = fact_relations()
        draft = _Draft(
            relations[index % len(relations)],
            self._values,
            Random(f"made fact/{self._seed}/{index}/{attempt}"),
        )
        while True:
            made = draft.make()
            if made is not None:
                return made

    def about_one(self, index: int, count: int) -> tuple[MadeFact, ...]:
        """Facts of different relations, all about one person.

        Args:
            index: of the person.
            count: how many; at most as there are relations that people stand in.
        """
        random = Random(f"made facts about one/{self._seed}/{index}")
        relations = [one for one in fact_relations() if one.values["S"] == _PERSON]
        who = self._values.fill(_PERSON, random)
        found = []
        for relation in random.sample(relations, count):
            draft, made = _Draft(relation, self._values, random, who), None
            while made is None:
                made = draft.make()
            found.append(made)
        return tuple(found)


class _Draft:
    """Makes facts of a relation until one is without fault; about a given subject or any."""

    def __init__(
        self, relation: FactRelation, values: MadeValues, random: Random, subject: str | None = None
    ) -> None:
        self._relation = relation
        self._values = values
        self._random = random
        self._given = {} if subject is None else {"S": subject}

    def make(self) -> MadeFact | None:
        """A fact; None where it would be ambiguous."""
        relation, random = self._relation, self._random
        paired = random.random() < _PAIRED
        wording = random.choice(relation.pair if paired else relation.told)
        slots = [name for name in self._slots(wording) if name not in self._given]
        bound = self._given | {name: self._fill(relation.values[name]) for name in slots}
        about = [name for name in relation.asked if name in bound]
        asked = [self._asked(name, bound) for name in about]
        if paired:
            other = {"S": self._fill(relation.values["S"]), "V": self._fill(relation.values["V"])}
            if _alike(bound["S"], other["S"]) or _alike(bound["V"], other["V"]):
                return None
            bound |= {"T": other["S"], "U": other["V"]}
            asked.append(self._asked("V", other))
        elif wording in relation.told[:_PLAIN] and random.random() < _LED:
            wording = self._led("lead", wording)
        text = self._dressed(wording, bound)
        if not all(_is_sound(text, one) for one in asked):
            return None
        if random.random() < _CORRECTED:
            return self._changing(text, asked[0], bound)
        return MadeFact(relation.topic, text, tuple(asked))

    def _changing(
        self, text: str, asked: MadeQuestion, bound: Mapping[str, str]
    ) -> MadeFact | None:
        relation, random = self._relation, self._random
        new = self._fill(relation.values["V"])
        if _alike(new, bound["V"]) or new.lower() in text.lower():
            return None
        wording = random.choice(relation.later)
        if random.random() < _GENERAL:
            wording = self._led("corrects", random.choice(relation.told[:_PLAIN]))
        subject = self._named(bound["S"])
        later = self._dressed(wording, {"S": subject, "V": new, "O": bound["V"]})
        if not _is_sound(later, MadeQuestion(asked.question, new)):
            return None
        return MadeFact(relation.topic, text, (asked,), later, new)

    def _slots(self, wording: str) -> list[str]:
        """Of the relation's slots those that a wording has."""
        return [name for name in self._relation.values if "{" + name + "}" in wording]

    def _named(self, subject: str) -> str:
        """A subject as it may be spoken of the next time: without what somebody is to me."""
        bare = _ROLE.sub("", subject)
        return bare if self._random.random() < _SHORTER else subject

    def _fill(self, text: str, bound: Mapping[str, str] | None = None) -> str:
        return self._values.fill(text, self._random, bound, self._relation.lists)

    def _asked(self, name: str, bound: Mapping[str, str]) -> MadeQuestion:
        wording = self._random.choice(self._relation.asked[name])
        named = {"S": self._named(bound["S"])}
        return MadeQuestion(_sentences(self._fill(wording, named)), bound[name])

    def _led(self, kind: str, wording: str) -> str:
        """A wording as the clause that such a sentence goes on with."""
        return self._random.choice(_words()[kind]).replace("{}", wording)

    def _dressed(self, wording: str, bound: Mapping[str, str]) -> str:
        """Whole sentences, now and then with small talk around them."""
        parts = [wording]
        if self._random.random() < _AROUND:
            parts.insert(0, self._random.choice(_words()["before"]))
        if self._random.random() < _AROUND:
            parts.append(self._random.choice(_words()["after"]))
        return " ".join(_sentences(self._fill(one, bound)) for one in parts)


def _sentences(text: str) -> str:
    """With capital letters where sentences begin, and a full stop."""
    begun = _START.sub(lambda found: found[0].upper(), text)
    return begun if begun[-1] in ".!?" else f"{begun}."


def _alike(one: str, other: str) -> bool:
    """Whether one of them stands in the other."""
    one, other = one.lower(), other.lower()
    return one in other or other in one


def _is_sound(text: str, asked: MadeQuestion) -> bool:
    """Whether the answer stands once in the text, and not in the question."""
    answer = asked.answer.lower()
    return text.lower().count(answer) == 1 and answer not in asked.question.lower()


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(read_document(path).text)


def _listed(found: str | list[str]) -> tuple[str, ...]:
    """The entries of a list, which may be one text: separated by commas, or by blanks."""
    if isinstance(found, list):
        return tuple(found)
    parts = found.split(",") if "," in found else found.split()
    return tuple(" ".join(part.split()) for part in parts)


def _relation(found: Mapping[str, Any]) -> FactRelation:
    further = {name: found[name] for name in ("W", "X") if name in found}
    return FactRelation(
        found["topic"],
        {"S": found["S"], "V": found["V"]} | {k: one["value"] for k, one in further.items()},
        tuple(found["told"]),
        tuple(found["pair"]),
        tuple(found["later"]),
        {"V": tuple(found["asked"])} | {k: tuple(one["asked"]) for k, one in further.items()},
        {name: tuple(one) for name, one in found.get("lists", {}).items()},
    )
