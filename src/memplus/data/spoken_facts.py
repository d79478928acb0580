"""Facts about made-up people, places and things: how each is told, told on, and asked for.

What a model that writes triples learns from: of every fact the subject, the relation and the value
are known, and stand in what is told as they are. Names, values and relations are dealt to the
splits by a hash of their text, as in ``notes``.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from memplus.data.names import OtherNames
from memplus.data.note_parts import (
    CLOSED,
    CORRECTIONS,
    PERSON_ATTRIBUTES,
    PLACE_ATTRIBUTES,
    QUESTIONS,
    STATEMENTS,
    WORD_HEADS,
    WORD_TAILS,
    Split,
    split_of,
)
from memplus.data.relations import make_organisations, make_people

__all__ = ["SpokenFact", "SpokenFacts", "relation_split"]

_HELD_OUT_RELATIONS = 10
"""Every so many relations is held out."""
_ATTRIBUTES = (
    "employer:name manager:name founder:name teacher:name neighbour:name captain:name coach:name "
    "architect:name deputy:name landlord:name mayor:name owner:name editor:name "
    "capital:place headquarters:place birthplace:place office:place destination:place port:place "
    "supplier:organisation sponsor:organisation bank:organisation school:organisation "
    "population:number price:number budget:number height:number weight:number speed:number "
    "room number:number flight number:number seat number:number account number:number "
    "opening year:number page count:number version:number "
    "motto:word codename:word nickname:word user name:word main export:word currency:word "
    "language:word street:word "
    "uniform colour:colour logo colour:colour car colour:colour mascot:animal pet:animal "
    "speciality:fruit emblem:animal signature drink:drink opening month:month material:metal"
)
_Kind = str
_ALL_KINDS = ("person", "place", "organisation", "thing")
_VERBS: tuple[tuple[str, _Kind, _Kind, str, str], ...] = (
    ("employer", "person", "organisation", "{s} has a job at {v}.", "Where is {s} employed?"),
    ("residence", "person", "place", "{s} has lived in {v} for years.", "Where does {s} live?"),
    ("residence", "person", "place", "{s} moved house to {v}.", "In which place does {s} live?"),
    ("spouse", "person", "name", "{s} got married to {v}.", "To whom is {s} married?"),
    ("place of birth", "person", "place", "{s} was born in {v}.", "Where was {s} born?"),
    ("author", "thing", "name", "{s} was written by {v}.", "Who wrote {s}?"),
    ("painter", "thing", "name", "{v} painted {s}.", "Who painted {s}?"),
    ("founder", "organisation", "name", "{v} founded {s}.", "Who founded {s}?"),
    ("location", "organisation", "place", "{s} lies in {v}.", "Where does {s} lie?"),
    ("location", "person", "place", "{s} is in {v} now.", "Where is {s} now?"),
    ("occupation", "person", "work", "{s} earns a living as a {v}.", "What does {s} do?"),
    ("instrument", "person", "instrument", "{s} plays the {v}.", "What does {s} play?"),
    ("director", "organisation", "name", "{v} runs {s}.", "Who runs {s}?"),
    ("pet", "person", "animal", "{s} keeps a {v}.", "Which animal does {s} keep?"),
    ("sport", "person", "sport", "{s} took up {v}.", "Which sport does {s} do?"),
    ("neighbour", "person", "name", "{s} lives next to {v}.", "Next to whom does {s} live?"),
)
_WORDS = {
    "work": "lawyer nurse pilot grocer printer glazier brewer surveyor fisherman translator cook",
    "instrument": "fiddle tuba harmonica cornet mandolin zither recorder bagpipes",
    "sport": "rowing fencing archery squash judo sailing curling hockey",
}
_TOLD = (
    *STATEMENTS["train"],
    "{s} has the {a} {v}.",
    "I heard that {s}'s {a} is {v}.",
    "{s}'s {a}: {v}.",
    "Somebody said the {a} of {s} is {v}.",
    "It is known that {s}'s {a} is {v}.",
    "Then {s}'s {a} became {v}.",
    "{v} is the {a} of {s}.",
)
_TOLD_ON = ("Their {a} is {v}.", "The {a} is {v}.", "The {a} there is {v}.", "And the {a} is {v}.")
_ASKED = (*QUESTIONS["train"], "Which {a} does {s} have?", "{s}'s {a} is what?")
_WHOSE = ("Who or what has the {a} {v}?", "Whose {a} is {v}?", "Of whom is {v} the {a}?")
_THINGS = "Project Operation Ship Team House Garden Bridge Engine Hall Book Song Tower".split()


def relation_split(relation: str) -> Split:
    """A tenth of all relations is in no training."""
    known = sorted({one.partition(":")[0] for one in _attributes()})
    place = known.index(relation) if relation in known else 1
    return "held_out" if place % _HELD_OUT_RELATIONS == 0 else "train"


def _attributes() -> list[str]:
    """``relation:kind`` of all attributes, the words of a relation kept together."""
    found, words = [], []
    for part in _ATTRIBUTES.split():
        words.append(part)
        if ":" in part:
            found.append(" ".join(words))
            words = []
    return found


@dataclass(frozen=True, slots=True)
class SpokenFact:
    """A fact and its wordings."""

    subject: str
    relation: str
    value: str
    statement: str
    later: str
    """A sentence that says it after one that named the subject."""
    question: str
    whose: str
    """Asks for the subject."""

    @property
    def triple(self) -> tuple[str, str, str]:
        """Subject, relation, value."""
        return self.subject, self.relation, self.value


@dataclass(frozen=True)
class SpokenFacts:
    """Makes facts of a split.

    The relations of "held_out" are those that no training has; names and open values are others
    too.
    """

    split: Split = "train"
    others: OtherNames = field(default_factory=lambda: OtherNames(()))
    """Names of other sounds than those of ``notes``."""

    def draw(self, random: Random, subject: str = "") -> SpokenFact:
        """A fact.

        Args:
            random: what it follows from.
            subject: about whom or what; empty: somebody or something new.
        """
        if not subject and random.random() < 0.25:
            return self._by_verb(random)
        kind = random.choices(_ALL_KINDS, (5, 1, 1, 1))[0]
        attribute, values = self._attribute(random, kind)
        return self._fact(random, subject or self._name(random, kind), attribute, values)

    def changed(self, fact: SpokenFact, random: Random) -> SpokenFact:
        """A later fact that gives another value of the same relation."""
        kinds: dict[str, str] = {**dict(PERSON_ATTRIBUTES), **dict(PLACE_ATTRIBUTES)}
        kinds |= dict(one.split(":") for one in _attributes())
        kinds |= {relation: values for relation, _, values, _, _ in _VERBS}
        value = fact.value
        while value == fact.value:
            value = self._value(random, kinds.get(fact.relation, "place"))
        wordings = CORRECTIONS[self.split] if random.random() < 0.7 else _TOLD
        return self._worded(random, fact.subject, fact.relation, value, random.choice(wordings))

    def _attribute(self, random: Random, kind: _Kind) -> tuple[str, _Kind]:
        if kind in ("person", "place") and random.random() < 0.5:
            known = PERSON_ATTRIBUTES if kind == "person" else PLACE_ATTRIBUTES
            return random.choice([one for one in known if relation_split(one[0]) == "train"])
        while True:
            name, _, values = random.choice(_attributes()).partition(":")
            if relation_split(name) == self.split:
                return name, values

    def _fact(self, random: Random, subject: str, relation: str, values: _Kind) -> SpokenFact:
        wordings = _TOLD if self.split == "train" else STATEMENTS["held_out"]
        value = self._value(random, values)
        return self._worded(random, subject, relation, value, random.choice(wordings))

    def _worded(
        self, random: Random, subject: str, relation: str, value: str, wording: str
    ) -> SpokenFact:
        named = {"s": subject, "a": relation, "v": value}
        asked = _ASKED if self.split == "train" else QUESTIONS["held_out"]
        return SpokenFact(
            subject,
            relation,
            value,
            wording.format(**named),
            random.choice(_TOLD_ON).format(**named),
            random.choice(asked).format(**named),
            random.choice(_WHOSE).format(**named),
        )

    def _by_verb(self, random: Random) -> SpokenFact:
        relation, kind, values, statement, question = random.choice(_VERBS)
        subject, value = self._name(random, kind), self._value(random, values)
        named = {"s": subject, "a": relation, "v": value}
        return SpokenFact(
            subject,
            relation,
            value,
            statement.format(**named),
            random.choice(_TOLD_ON).format(**named),
            question.format(**named),
            random.choice(_WHOSE).format(**named),
        )

    def _name(self, random: Random, kind: _Kind) -> str:
        if kind == "organisation":
            return make_organisations(random, 1, self.split)[0]
        if kind == "thing":
            word = self._word(random).capitalize()
            return f"{random.choice(_THINGS)} {word}"
        if kind == "place":
            return self._place(random)
        if random.random() < 0.5:
            return self.others.draw(random, 1)[0]
        return make_people(random, 1, self.split)[0]

    def _place(self, random: Random) -> str:
        known = random.choice(CLOSED["city"])
        ending = random.choice(("ton", "ham", " Bay", "burg", "ville", " Hill", "ia"))
        made = self._word(random).capitalize() + ending
        return random.choice((known, made, made))

    def _value(self, random: Random, kind: str) -> str:
        if kind in CLOSED:
            return random.choice(CLOSED[kind])
        if kind in _WORDS:
            return random.choice(_WORDS[kind].split())
        if kind == "number":
            while split_of(value := str(random.randrange(10, 10 ** random.randint(2, 5)))) != (
                self.split
            ):
                pass
            return value
        if kind == "word":
            return self._word(random)
        return self._name(random, "person" if kind == "name" else kind)

    def _word(self, random: Random) -> str:
        while True:
            word = random.choice(WORD_HEADS) + random.choice(WORD_TAILS)
            if split_of(word) == self.split:
                return word
