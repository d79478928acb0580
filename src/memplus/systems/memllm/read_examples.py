"""What a read model learns of an annotated document: where to ask, and what (algorithm 1).

Where an entity is named for the first time and stands in a relation to one named before, the
document can be asked for it: the call stands before its name, and the text goes on after the
results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplus.systems.memllm.annotated import Document, Mention, Relation, sorted_mentions
from memplus.systems.memllm.grammar import Query

__all__ = ["ReadPiece", "is_ambiguous", "read_pieces"]

_MOST_QUERIES = 3
_SUBJECT_OF = frozenset(
    (
        "country of citizenship", "country", "country of origin", "religion", "place of birth",
        "place of death", "work location", "location of formation", "location", "basin country",
        "residence", "publication date", "production company", "original language of work",
        "applies to jurisdiction", "platform", "located in the administrative territorial entity",
        "headquarters location", "inception", "employer", "date of birth", "date of death",
        "educated at",
    )
)  # fmt: skip
_OBJECT_OF = frozenset(("continent", "contains administrative territorial entity"))


@dataclass(frozen=True)
class ReadPiece:
    """A target that the text before it can ask for."""

    before: str
    """All text before the target, blanks at its ends left out."""
    queries: tuple[Query, ...]
    target: str
    after: str
    """From the target up to the next one, or to the end of the text."""
    first: bool
    """Whether it is the document's first, so that its opening is learned too."""
    last: bool
    """Whether the text ends with it."""
    spaced: bool = True
    """Whether a blank stands between the two texts."""


def is_ambiguous(query: Query) -> bool:
    """Whether too many things answer a query, whatever it is about (appendix B)."""
    return query.relation in (_SUBJECT_OF if query.subject is None else _OBJECT_OF)


def read_pieces(document: Document) -> list[ReadPiece]:
    """The targets of a document, from left to right."""
    targets: list[tuple[Mention, tuple[Query, ...]]] = []
    mentions = sorted_mentions(document)
    for index, (entity, mention) in enumerate(mentions):
        earlier = mentions[:index]
        if entity in {one for one, _ in earlier} or mention.name in document.text[: mention.start]:
            continue
        queries = _queries(document.relations, entity, earlier)
        repeated = targets and queries and targets[-1][1][0] == queries[0]
        if 0 < len(queries) <= _MOST_QUERIES and not repeated:
            targets.append((mention, queries))
    ends = [one.start for one, _ in targets[1:]] + [len(document.text)] * bool(targets)
    return [
        ReadPiece(
            document.text[: mention.start].strip(),
            queries,
            mention.name,
            document.text[mention.start : end].strip(),
            first=index == 0,
            last=index == len(targets) - 1,
            spaced=document.text[: mention.start].endswith(" "),
        )
        for index, ((mention, queries), end) in enumerate(zip(targets, ends, strict=True))
    ]


def _queries(
    relations: Sequence[Relation], target: int, earlier: Sequence[tuple[int, Mention]]
) -> tuple[Query, ...]:
    """What can be asked of a target by the mentions before it, in their order, each once."""
    found: dict[Query, None] = {}
    for entity, mention in earlier:
        for relation in relations:
            if (relation.head, relation.tail) == (entity, target):
                query = Query(mention.name, relation.name, None)
            elif (relation.head, relation.tail) == (target, entity):
                query = Query(None, relation.name, mention.name)
            else:
                continue
            if not is_ambiguous(query):
                found[query] = None
    return tuple(found)
