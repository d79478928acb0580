"""Examples of MemLLM's read adapter: where a text asks the memory, and goes on with the results.

Documents are walked through as in the paper (2404.11672, algorithm 1); questions with a call in
their answers are an addition, since a question is how a memory is asked here. Results come from
what the write adapter wrote of the documents (``filled``), as imperfect as it is; where it wrote
nothing that answers, the right one is put in. A call and the text behind it are learned, and the
opening of a document; results and the text before are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from memplus.config import require
from memplus.data.json_lines import read_records
from memplus.data.notes import ABSTENTION
from memplus.systems.memllm.annotated import Document
from memplus.systems.memllm.calls import question_prompt
from memplus.systems.memllm.grammar import END, START, Query, read_call
from memplus.systems.memllm.read_examples import ReadPiece, read_pieces
from memplus.systems.memllm.reading import MOST_RESULTS
from memplus.systems.triples.rows import Triple
from memplus.training.masked.example import Example, ExampleKind, ExampleMaker, Piece
from memplus.training.masked.memllm_documents import DocumentSources, Told, annotated
from memplus.training.masked.memllm_write import shortened

__all__ = ["Filled", "MemLLMReads", "call_pieces", "document_example", "read_filled"]


@dataclass(frozen=True)
class Filled:
    """A document, and what the write adapter wrote of it."""

    told: tuple[Told, ...]
    written: tuple[Triple, ...]

    def as_json(self) -> dict[str, Any]:
        """As a line of the file holds it."""
        return {"told": [[one.text, one.triples] for one in self.told], "written": self.written}


def read_filled(path: Path) -> list[Filled]:
    """The documents of a file that ``benchmarks/memllm.py fill`` wrote.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        UsageError: a line is something else.
    """
    return read_records(path, _filled, holds="a document and what was written of it")


def _filled(line: Any) -> Filled:
    told = tuple(Told(text, _triples(said)) for text, said in line["told"])
    return Filled(told, _triples(line["written"]))


def _triples(found: Any) -> tuple[Triple, ...]:
    if not all(len(one) == 3 and all(isinstance(part, str) for part in one) for one in found):
        raise ValueError("no triples")
    return tuple(Triple(*one) for one in found)


@dataclass(frozen=True, kw_only=True)
class MemLLMReads(ExampleKind):
    """An entry ``{kind: memllm_read, ...}``."""

    kind: ClassVar[str] = "memllm_read"

    filled: str = ""
    """File of documents and what the write adapter wrote of them; without it all results are the
    right ones."""
    articles: str = ""
    """JSON of 2WikiMultihopQA's articles; without it there are none."""
    stories: str = ""
    """The archive of bAbI; without it there are no stories."""
    asked: float = 0.6
    """Share of questions; the rest are documents."""
    moved: float = 0.2
    """Of the questions, the share about stories."""
    unknown: float = 0.08
    """Of the questions, the share that is answered without a call: as where nothing is found."""
    changed: float = 0.2
    """Of the questions, the share to which an older value is found too, before the right one."""
    whose: float = 0.15
    """Of the questions, the share that asks for the subject."""
    before: int = 400
    """Characters of a document before a target, at most; whole sentences."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("asked", "moved", "unknown", "changed", "whose"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "it is a share")
        require(self.before >= 1, "before", self.before, "at least 1")

    def maker(self) -> ExampleMaker:
        """See ``ExampleKind.maker``."""
        filled = read_filled(Path(self.filled)) if self.filled else []
        sources = DocumentSources(articles=self.articles, stories=self.stories)
        return _Maker(self, sources, tuple(filled))


def call_pieces(queries: Sequence[Query], results: Sequence[str]) -> tuple[Piece, ...]:
    """A call, which is learned, and its results, which are given."""
    call = Piece(START, learned=True), Piece(read_call(queries), learned=True)
    return *call, Piece(";".join(results)), Piece(END)


def document_example(piece: ReadPiece, results: Sequence[str], before: int) -> Example:
    """What is learned of one target of a document.

    Args:
        piece: the target.
        results: what the memory found.
        before: characters of the text before the target, at most.
    """
    given = shortened(piece.before, before) or piece.before[-before:]
    blank = " " if piece.spaced else ""
    after = [Piece(f"{blank}{piece.after}", learned=True)]
    after += [] if piece.last else [Piece(START, learned=True)]
    pieces = Piece(given, learned=piece.first), *call_pieces(piece.queries, results), *after
    return Example("document", pieces, ends=piece.last)


@dataclass(frozen=True)
class _Maker:
    """Draws examples of a config."""

    config: MemLLMReads
    sources: DocumentSources
    filled: tuple[Filled, ...]
    known: dict[Query, dict[str, None]] = field(init=False, default_factory=dict)
    """Query -> what was written that answers it."""

    def __post_init__(self) -> None:
        for subject, relation, object in (one for many in self.filled for one in many.written):
            self.known.setdefault(Query(subject, relation, None), {})[object] = None
            self.known.setdefault(Query(None, relation, object), {})[subject] = None

    def make(self, index: int, random: Random) -> Example:
        """See ``ExampleMaker.make``."""
        if random.random() >= self.config.asked:
            return self._document(random)
        if self.sources.told and random.random() < self.config.moved:
            return self._moved(random)
        return self._question(random)

    # Documents ----------------------------------------------------------------------------------

    def _document(self, random: Random) -> Example:
        """One target of a document; a document without any is passed over."""
        while True:
            pieces = read_pieces(self._drawn(random))
            if pieces:
                piece = random.choice(pieces)
                return document_example(piece, self._results(piece), self.config.before)

    def _drawn(self, random: Random) -> Document:
        if self.filled and random.random() < 0.5:
            return annotated(random.choice(self.filled).told)
        if self.sources.openings and random.random() < 0.5:
            return annotated(self.sources.article(random))
        return annotated(self.sources.made_up(random))

    def _results(self, piece: ReadPiece) -> list[str]:
        """What the written memory finds; the target itself where it is of no use."""
        found = list({end: None for query in piece.queries for end in self.known.get(query, ())})
        return found if 0 < len(found) <= MOST_RESULTS else [piece.target]

    # Questions ----------------------------------------------------------------------------------

    def _question(self, random: Random) -> Example:
        facts = self.sources.facts
        fact = facts.draw(random)
        share = random.random()
        if share < self.config.unknown:
            pieces = Piece(question_prompt(fact.question)), Piece(f" {ABSTENTION}", learned=True)
            return Example("unknown", pieces)
        if share < self.config.unknown + self.config.whose:
            query = Query(None, fact.relation, fact.value)
            return _answered("whose", fact.whose, query, [fact.subject], fact.subject)
        values = [fact.value]
        if random.random() < self.config.changed:
            values.insert(0, facts.changed(fact, random).value)
        query = Query(fact.subject, fact.relation, None)
        return _answered("question", fact.question, query, values, fact.value)

    def _moved(self, random: Random) -> Example:
        """Where somebody is, or where a thing is that somebody carries: one read, or one of two."""
        said = [triple for one in self.sources.story(random) for triple in one.triples]
        places = {one.subject: one.object for one in said if one.relation == "location"}
        carried = {one.subject: one.object for one in said if one.relation == "carried by"}
        reached = [one for one in carried if carried[one] in places]
        if not places:
            return self._question(random)
        if not reached or random.random() < 0.5:
            name = random.choice(list(places))
            query = Query(name, "location", None)
            return _answered("story", f"Where is {name}?", query, [places[name]], places[name])
        thing = random.choice(reached)
        name = carried[thing]
        prompt, said_first = question_prompt(f"Where is the {thing}?"), f" {name} has it, in the"
        if random.random() < 0.5:
            call = call_pieces([Query(thing, "carried by", None)], [name])
            behind = Piece(said_first, learned=True), Piece(START, learned=True)
            return Example("story", (Piece(prompt), *call, *behind), ends=False)
        call = call_pieces([Query(name, "location", None)], [places[name]])
        answer = Piece(f" {places[name]}", learned=True)
        return Example("story", (Piece(prompt), Piece(said_first), *call, answer))


def _answered(
    label: str, question: str, query: Query, results: Sequence[str], answer: str
) -> Example:
    call = call_pieces([query], results)
    return Example(
        label, (Piece(question_prompt(question)), *call, Piece(f" {answer}", learned=True))
    )
