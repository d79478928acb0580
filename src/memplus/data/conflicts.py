"""Numbered facts that contradict each other, of which the newest holds; made by rule.

As in MemoryAgentBench's consolidation of facts (2507.05257): a list of facts, later ones of which
revise earlier ones, and questions about what holds in the end. A question of one hop asks for the
newest value of one fact; a question of two hops goes on from there to the newest fact about that
value. People, places and all facts are invented, so that nobody knows the answers beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from memplus.data.plain_names import Kind, PlainNames
from memplus.data.stream import Reference

__all__ = ["ONE_HOP", "PREAMBLE", "TWO_HOPS", "ConflictQuestion", "Conflicts", "make_conflicts"]

ONE_HOP, TWO_HOPS = "one hop", "two hops"
PREAMBLE = (
    "A list of numbered facts follows. The higher its number, the newer is a fact. "
    "Where facts contradict each other, the newest is true.\n"
)

_SPOKEN_OF: dict[Kind, str] = {
    "person": "{}",
    "company": "the company {}",
    "town": "the town of {}",
    "book": "the book {}",
    "club": "the club {}",
}
_CRAFTS = tuple(
    (
        "baker carpenter dentist farmer gardener jeweller locksmith miller nurse painter plumber "
        "potter sailor saddler tailor teacher typist weaver"
    ).split()
)
_INSTRUMENTS = tuple(
    (
        "accordion banjo bassoon cello clarinet drums flute guitar harp horn lute oboe organ piano "
        "trombone trumpet viola violin"
    ).split()
)
_TOKENS_A_FACT = 17
"""Roughly; only says how many digits the numbers will have."""
_AT_ONCE = 50
"""Chains that are made and counted together."""


@dataclass(frozen=True, slots=True)
class _Relation:
    """What may be said of something."""

    subject: Kind
    objects: Kind | tuple[str, ...]
    """The kind of its value, or the values there are."""
    statement: str
    """With {s} for the subject and {o} for the value."""
    question: str
    """For the value, after "According to the newest fact, "."""
    phrase: str
    """Speaks of the value without naming it."""

    def states(self, subject: str, value: str) -> str:
        """The fact, as a sentence."""
        text = self.statement.format(s=_named(self.subject, subject), o=value)
        return text[0].upper() + text[1:]


def _named(kind: Kind, name: str) -> str:
    """Something as it is spoken of."""
    return _SPOKEN_OF[kind].format(name)


_EMPLOYER = _Relation(
    "person",
    "company",
    "{s} works for {o}.",
    "which company does {s} work for?",
    "the company that {s} works for",
)
_SEAT = _Relation(
    "company",
    "town",
    "{s} has its seat in {o}.",
    "in which town does {s} have its seat?",
    "the town in which {s} has its seat",
)
_MAYOR = _Relation(
    "town", "person", "The mayor of {s} is {o}.", "who is the mayor of {s}?", "the mayor of {s}"
)
_HOME = _Relation(
    "person",
    "town",
    "{s} lives in {o}.",
    "in which town does {s} live?",
    "the town that {s} lives in",
)
_SPOUSE = _Relation(
    "person",
    "person",
    "{s} is married to {o}.",
    "who is {s} married to?",
    "the person that {s} is married to",
)
_AUTHOR = _Relation(
    "book", "person", "{s} was written by {o}.", "who wrote {s}?", "the author of {s}"
)
_COACH = _Relation(
    "club", "person", "{s} is coached by {o}.", "who is the coach of {s}?", "the coach of {s}"
)
_CRAFT = _Relation(
    "person",
    _CRAFTS,
    "{s} works as a {o}.",
    "what does {s} work as?",
    "the craft of {s}",
)
_INSTRUMENT = _Relation(
    "person",
    _INSTRUMENTS,
    "{s} plays the {o}.",
    "which instrument does {s} play?",
    "the instrument that {s} plays",
)
_CHAINS = (
    (_EMPLOYER, _SEAT),
    (_SEAT, _MAYOR),
    (_HOME, _MAYOR),
    (_MAYOR, _SPOUSE),
    (_MAYOR, _CRAFT),
    (_AUTHOR, _HOME),
    (_AUTHOR, _INSTRUMENT),
    (_COACH, _CRAFT),
    (_COACH, _EMPLOYER),
    (_SPOUSE, _HOME),
    (_SPOUSE, _INSTRUMENT),
)
"""Relations of which the second one is asked for the first one's value."""


@dataclass(frozen=True, slots=True)
class ConflictQuestion:
    """A question about what holds when all facts have been read."""

    kind: str
    """``ONE_HOP`` or ``TWO_HOPS``."""
    text: str
    answer: str
    outdated: str
    """The answer before the last of the facts that it depends on."""
    stated_by: int
    """Place of the fact that states the answer, from 0."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """A list of facts and what is asked about it."""

    lines: tuple[str, ...]
    """A fact each, with its number, in order; a line break ends each."""
    questions: tuple[ConflictQuestion, ...]


@dataclass(frozen=True, slots=True)
class _Chain:
    """Five facts: something, its old and its new value, and what is said of these two."""

    first: _Relation
    second: _Relation
    subject: str
    old: str
    new: str
    of_old: str
    """The second relation's value of ``old``."""
    was: str
    """The second relation's value of ``new``, at first."""
    now: str

    @property
    def facts(self) -> tuple[str, ...]:
        """The old and the new value; that of the old value; the old and the new one of the new."""
        return (
            self.first.states(self.subject, self.old),
            self.first.states(self.subject, self.new),
            self.second.states(self.old, self.of_old),
            self.second.states(self.new, self.was),
            self.second.states(self.new, self.now),
        )

    def one_hop(self, places: Sequence[int]) -> ConflictQuestion:
        """Asks for the new value."""
        named = _named(self.first.subject, self.subject)
        text = "According to the newest fact, " + self.first.question.format(s=named)
        return ConflictQuestion(ONE_HOP, text, self.new, self.old, places[1])

    def two_hops(self, places: Sequence[int]) -> ConflictQuestion:
        """Asks for the newest value of the new value."""
        named = self.first.phrase.format(s=_named(self.first.subject, self.subject))
        text = "According to the newest facts, " + self.second.question.format(s=named)
        before = self.of_old if places[1] > places[4] else self.was
        return ConflictQuestion(TWO_HOPS, text, self.now, before, places[4])


def make_conflicts(tokens: int, items: int, seed: int, reference: Reference) -> Conflicts:
    """Facts of about so many tokens, and questions about them.

    Every fact that is asked for has been revised once: the newer version has the higher number.

    Args:
        tokens: of all facts together, at most but for a few; at least one chain of five is made.
        items: questions of each kind, fewer where the facts are too few for that.
        seed: of everything.
        reference: counts the tokens.
    """
    random = Random(f"conflicts {seed} {tokens}")
    chains = _chains_of(tokens, random, reference)
    placed = _numbered([chain.facts for chain in chains], random)
    facts = {
        place: fact for chain, at in zip(chains, placed) for place, fact in zip(at, chain.facts)
    }
    lines = tuple(f"{place + 1}. {facts[place]}\n" for place in sorted(facts))
    asked = list(zip(chains, placed, strict=True))
    one = [chain.one_hop(at) for chain, at in random.sample(asked, min(items, len(asked)))]
    two = [chain.two_hops(at) for chain, at in random.sample(asked, min(items, len(asked)))]
    return Conflicts(lines, (*one, *two))


def _chains_of(tokens: int, random: Random, reference: Reference) -> list[_Chain]:
    """As many as there is room for."""
    made, chains = _made(random), list[_Chain]()
    number = "8" * len(str(max(1, tokens // _TOKENS_A_FACT)))
    left = tokens - len(reference([PREAMBLE])[0])
    while True:
        batch = [next(made) for _ in range(_AT_ONCE)]
        for chain in batch:
            counts = reference([f"{number}. {fact}\n" for fact in chain.facts])
            left -= sum(len(ends) for ends in counts)
            if left < 0 and chains:
                return chains
            chains.append(chain)


def _made(random: Random) -> Iterator[_Chain]:
    """One chain after the other, about things that no other chain names."""
    names = PlainNames(random)
    while True:
        first, second = random.choice(_CHAINS)
        subject, old, new = (names.draw(one) for one in (first.subject, *[second.subject] * 2))
        of_old, was, now = _values(second.objects, names, random)
        yield _Chain(first, second, subject, old, new, of_old, was, now)


def _values(objects: Kind | tuple[str, ...], names: PlainNames, random: Random) -> list[str]:
    """Three different ones."""
    if isinstance(objects, tuple):
        return random.sample(objects, 3)
    return [names.draw(objects) for _ in range(3)]


def _numbered(groups: Sequence[Sequence[str]], random: Random) -> list[tuple[int, ...]]:
    """Places of all facts, by chance, but of two versions the newer one later."""
    order = [(index, fact) for index, group in enumerate(groups) for fact in range(len(group))]
    random.shuffle(order)
    place = {one: at for at, one in enumerate(order)}
    found = []
    for index in range(len(groups)):
        first = sorted(place[index, fact] for fact in (0, 1))
        second = sorted(place[index, fact] for fact in (3, 4))
        found.append((*first, place[index, 2], *second))
    return found
