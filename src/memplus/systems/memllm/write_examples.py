"""What a write model learns of an annotated document: the triples of each sentence."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from memplus.systems.memllm.annotated import Document, Mention, Relation
from memplus.systems.triples.rows import Triple

__all__ = ["WriteExample", "write_examples"]

_TOO_MANY = 32
"""Triples of one sentence with which an example is left out."""


@dataclass(frozen=True)
class WriteExample:
    """A sentence and what is to be written of it."""

    sentence: int
    before: str
    """The text before it."""
    focus: str
    """The sentence."""
    triples: tuple[Triple, ...]
    """By the place in the sentence where each is complete."""


def write_examples(document: Document, random: Random) -> list[WriteExample]:
    """One example of each sentence, but for those of 32 triples and more.

    A triple belongs to the sentences of its evidence, to any where none is known. It is written
    with a pair of mentions of which one lies in the sentence and none comes later, drawn at random;
    without such a pair it is not written there.

    Args:
        document: with what it says.
        random: draws the pairs.
    """
    examples = []
    for index, (start, _) in enumerate(document.sentences):
        found: set[tuple[int, Triple]] = set()
        for relation in document.relations:
            pairs = _pairs(document, relation, index)
            if pairs and (not relation.evidence or index in relation.evidence):
                head, tail = random.choice(pairs)
                places = [one.start for one in (head, tail) if one.sentence == index]
                found.add((max(places), Triple(head.name, relation.name, tail.name)))
        triples = tuple(dict.fromkeys(one for _, one in sorted(found)))
        if len(triples) < _TOO_MANY:
            before = document.text[:start]
            examples.append(WriteExample(index, before, document.sentence(index), triples))
    return examples


def _pairs(document: Document, relation: Relation, sentence: int) -> list[tuple[Mention, Mention]]:
    """Pairs of mentions of which one lies in the sentence and none comes later."""
    return [
        (head, tail)
        for head in document.entities[relation.head]
        for tail in document.entities[relation.tail]
        if max(head.sentence, tail.sentence) == sentence
    ]
