"""Documents whose entities and relations are known: what examples of writes and reads are made of.

They come from DocRED's layout (words, mentions, labels with evidence), or are made by rule with
the same parts. All places are characters of the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Document", "Mention", "Relation", "from_docred", "sorted_mentions"]


@dataclass(frozen=True, slots=True)
class Mention:
    """A place where an entity is named."""

    name: str
    """As it stands there."""
    sentence: int
    start: int
    """Its first character in the text."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What a document says of two of its entities."""

    head: int
    """Index of the subject."""
    name: str
    tail: int
    """Index of the object."""
    evidence: tuple[int, ...] = ()
    """Sentences that say it; none: it is not known which."""


@dataclass(frozen=True)
class Document:
    """A text with what it says."""

    text: str
    sentences: tuple[tuple[int, int], ...]
    """Where each begins and ends, in order."""
    entities: tuple[tuple[Mention, ...], ...]
    """The mentions of each, in order."""
    relations: tuple[Relation, ...]

    def sentence(self, index: int) -> str:
        """The text of a sentence."""
        start, end = self.sentences[index]
        return self.text[start:end]


def from_docred(document: Mapping[str, Any], names: Mapping[str, str]) -> Document:
    """A document of DocRED's layout; words are joined by blanks, as its texts are tokenised.

    Args:
        document: with ``sents``, ``vertexSet`` and ``labels``.
        names: of the relations, by their ids in Wikidata.

    Raises:
        KeyError, IndexError: it has another layout, or a relation has no name.
    """
    sentences: list[tuple[int, int]] = []
    words: list[list[int]] = []
    at = 0
    for sentence in document["sents"]:
        places = []
        for word in sentence:
            places.append(at)
            at += len(word) + 1
        words.append(places)
        sentences.append((places[0] if places else at, at - 1 if places else at))
    entities = tuple(
        tuple(
            Mention(one["name"], one["sent_id"], words[one["sent_id"]][one["pos"][0]])
            for one in mentions
        )
        for mentions in document["vertexSet"]
    )
    relations = tuple(
        Relation(one["h"], names[one["r"]], one["t"], tuple(one["evidence"]))
        for one in document["labels"]
    )
    text = " ".join(" ".join(sentence) for sentence in document["sents"])
    return Document(text, tuple(sentences), entities, relations)


def sorted_mentions(document: Document) -> Sequence[tuple[int, Mention]]:
    """Every mention with its entity, from left to right."""
    found = [(index, one) for index, many in enumerate(document.entities) for one in many]
    return sorted(found, key=lambda item: (item[1].start, item[0]))
