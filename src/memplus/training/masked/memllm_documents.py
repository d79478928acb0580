"""Documents whose triples are known: what MemLLM's two adapters learn from, and are measured on.

Three sources: facts made up by rule, several to a paragraph, told on in later sentences; openings
of encyclopedia articles, in which patterns say what is related, with people and dates swapped
between articles so that the text beats what the weights know; and bAbI's stories of people who
move, carry and give. Beside them prose that holds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from memplus.data.babi import read_babi
from memplus.data.note_parts import Split, split_of
from memplus.data.openings import Opening, Said, read_openings
from memplus.data.sentences import split_sentences
from memplus.data.spoken_facts import SpokenFact, SpokenFacts
from memplus.systems.memllm.annotated import Document, Mention, Relation
from memplus.systems.memllm.grammar import spaced_dashes, writable
from memplus.systems.triples.rows import Triple

__all__ = ["DocumentSources", "Told", "annotated", "moves_of"]

_HELD_OUT_ARTICLES = 12
"""Every so many articles is held out: about 500 of the corpus's 6119."""
_MOVE = re.compile(r"(\w+) (?:moved|went|travelled|journeyed|went back) to the (\w+)\.")
_TAKE = re.compile(r"(\w+) (?:got|picked up|grabbed|took) the (\w+)(?: there)?\.")
_GIVE = re.compile(r"\w+ (?:gave|passed|handed) the (\w+) to (\w+)\.")
_WHERE = re.compile(r"The (\w+) is (north|south|east|west) of the (\w+)\.")
_TASKS = (1, 2, 5)
_BABI_NAMES = "John Mary Daniel Sandra Fred Bill Jeff Julie".split()
_ROOMS = "kitchen office garden hallway bathroom bedroom".split()
_OTHER_ROOMS = "attic cellar stable library workshop garage pantry chapel market harbour".split()
_STORY = (3, 8)
"""Sentences of a story, at least and at most."""


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence and what it says."""

    text: str
    triples: tuple[Triple, ...] = ()


def annotated(sentences: Sequence[Told]) -> Document:
    """Sentences as a document: what they say is of the entities wherever these are named."""
    texts = [spaced_dashes(one.text) for one in sentences]
    spans: list[tuple[int, int]] = []
    at = 0
    for text in texts:
        spans.append((at, at + len(text)))
        at += len(text) + 1
    names: dict[str, int] = {}
    relations: dict[tuple[int, str, int], list[int]] = {}
    for index, one in enumerate(sentences):
        for triple in one.triples:
            if writable(triple):
                head, tail = (names.setdefault(n, len(names)) for n in (triple[0], triple[2]))
                relations.setdefault((head, triple.relation, tail), []).append(index)
    text = " ".join(texts)
    entities = tuple(_mentions(name, text, spans) for name in names)
    said = tuple(Relation(*key, tuple(where)) for key, where in relations.items())
    return Document(text, tuple(spans), entities, said)


def _mentions(name: str, text: str, spans: Sequence[tuple[int, int]]) -> tuple[Mention, ...]:
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    return tuple(
        Mention(name, index, found.start())
        for index, (start, end) in enumerate(spans)
        for found in pattern.finditer(text, start, end)
    )


def moves_of(sentence: str) -> tuple[Triple, ...]:
    """What a sentence of bAbI's tasks 1, 2, 4 and 5 says; a thing that is put down says nothing."""
    if found := _MOVE.fullmatch(sentence):
        return (Triple(found[1], "location", found[2]),)
    if found := _TAKE.fullmatch(sentence):
        return (Triple(found[2], "carried by", found[1]),)
    if found := _GIVE.fullmatch(sentence):
        return (Triple(found[1], "carried by", found[2]),)
    if found := _WHERE.fullmatch(sentence):
        return (Triple(found[1], f"{found[2]} of", found[3]),)
    return ()


@dataclass(frozen=True)
class DocumentSources:
    """Where documents come from; each is left out where its file is not given."""

    split: Split = "train"
    articles: str = ""
    """JSON of 2WikiMultihopQA's articles."""
    stories: str = ""
    """The archive of bAbI; stories of its training part."""
    prose: tuple[str, ...] = ()
    """Sentences that hold nothing."""
    facts: SpokenFacts = field(default_factory=SpokenFacts)
    openings: tuple[Opening, ...] = field(init=False, default=())
    told: tuple[tuple[str, ...], ...] = field(init=False, default=())
    """The sentences of each story."""

    def __post_init__(self) -> None:
        if self.articles:
            found = read_openings(Path(self.articles))
            kept = [one for one in found if self._is_mine(one)]
            object.__setattr__(self, "openings", tuple(kept))
        if self.stories:
            part: Literal["train", "test"] = "train" if self.split == "train" else "test"
            read = [one for task in _TASKS for one in read_babi(Path(self.stories), task, part)]
            object.__setattr__(self, "told", tuple(one.facts for one in read))

    def _is_mine(self, opening: Opening) -> bool:
        """By a hash of its title, about a twelfth is held out."""
        digest = sum(opening.subject.encode()) % _HELD_OUT_ARTICLES
        return (digest == 0) == (self.split == "held_out")

    def made_up(self, random: Random) -> list[Told]:
        """A paragraph of made-up facts, some told on in the next sentence, prose between."""
        said: list[Told] = []
        last: SpokenFact | None = None
        count = random.choice((1, 2, 2, 3, 3, 4))
        while len(said) < count or last is None:
            kind = random.random()
            if last is not None and kind < 0.25:
                fact = self.facts.draw(random, subject=last.subject)
                said.append(Told(fact.later, (Triple(*fact.triple),)))
            elif last is not None and kind < 0.35:
                fact = self.facts.changed(last, random)
                said.append(Told(fact.statement, (Triple(*fact.triple),)))
            elif 0.35 <= kind < 0.5 and self.prose:
                said.append(Told(random.choice(self.prose)))
                continue
            else:
                fact = self.facts.draw(random)
                said.append(self._told(fact, random))
            last = fact
        return said

    def _told(self, fact: SpokenFact, random: Random) -> Told:
        """A fact, sometimes with another one in the same sentence."""
        if random.random() < 0.85:
            return Told(fact.statement, (Triple(*fact.triple),))
        other = self.facts.draw(random)
        joint = random.choice((", and ", "; ", ", while "))
        text = f"{fact.statement.rstrip('.')}{joint}{other.statement}"
        return Told(text, (Triple(*fact.triple), Triple(*other.triple)))

    def article(self, random: Random) -> list[Told]:
        """The opening of an article, half of the time with values of others in the place of its."""
        opening = random.choice(self.openings)
        if random.random() < 0.5:
            opening = self._swapped(opening, random)
        said: list[Told] = []
        for start, end in split_sentences(opening.text):
            triples = tuple(
                Triple(opening.subject, one.relation, one.value)
                for one in opening.said
                if start <= one.start < end
            )
            said.append(Told(opening.text[start:end], triples))
        return said

    def _swapped(self, opening: Opening, random: Random) -> Opening:
        """The article with another subject, and other values of its relations."""
        kind = opening.said[0].relation
        alike = [one for one in self.openings if one.said[0].relation == kind]
        subject = random.choice(alike).subject
        text, said = opening.text, []
        for one in sorted(opening.said, key=lambda one: -one.start):
            values = [
                v.value for v in random.choice(self.openings).said if v.relation == one.relation
            ]
            value = values[0] if values else one.value
            text = text[: one.start] + value + text[one.start + len(one.value) :]
            said.append(Said(one.relation, value, one.start))
        return self._placed(Opening(subject, text.replace(opening.subject, subject, 1), ()), said)

    def _placed(self, opening: Opening, said: Sequence[Said]) -> Opening:
        """What was said, where it stands now."""
        found, at = [], len(opening.subject)
        for one in reversed(said):
            place = opening.text.find(one.value, at)
            if place >= 0:
                found.append(Said(one.relation, one.value, place))
        return Opening(opening.subject, opening.text, tuple(found))

    def story(self, random: Random) -> list[Told]:
        """Some sentences of a story, half of the time of other people in other rooms."""
        whole = random.choice(self.told)
        count = min(len(whole), random.randint(*_STORY))
        start = random.randrange(len(whole) - count + 1)
        text = "\n".join(whole[start : start + count])
        if random.random() < 0.5:
            people = dict(zip(_BABI_NAMES, self._first_names(random), strict=True))
            rooms = dict(zip(_ROOMS, random.sample(_OTHER_ROOMS, len(_ROOMS)), strict=True))
            others = people | rooms
            text = re.sub(r"\w+", lambda word: others.get(word[0], word[0]), text)
        return [Told(one, moves_of(one)) for one in text.split("\n")]

    def _first_names(self, random: Random) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < len(_BABI_NAMES):
            name = self.facts.others.draw(random, 1)[0].split()[-1]
            if re.fullmatch(r"\w+", name) and split_of(name) == self.split:
                found[name] = None
        return list(found)
