"""Examples of RET-LLM (2305.14322, section 3): reads of six kinds, writes, and nothing to do.

All facts are made up: people who stand in relations to organisations (``data.relations``), and the
notes of this package's own benchmark (``data.notes``). Names, values and wordings are those of the
training split. A call is learned up to where the controller goes on, and so is the answer; the
question, the sentence and what the controller says are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from memplus.config import require
from memplus.data.corpus import read_texts
from memplus.data.names import OtherNames
from memplus.data.notes import (
    ABSTENTION,
    Note,
    Split,
    corrected,
    make_notes,
    namesake,
    notes_about,
    retold,
)
from memplus.data.relations import (
    QUESTION_KINDS,
    RELATIONS,
    Fact,
    QuestionKind,
    joined,
    make_organisations,
    make_people,
    question_about,
    statement_of,
)
from memplus.data.sentences import split_sentences
from memplus.systems.ret_llm.grammar import (
    Query,
    Triple,
    can_be_kept,
    query_text,
    result_text,
    write_text,
)
from memplus.systems.ret_llm.prompts import question_prompt, text_prompt
from memplus.training.engine.config_file import files_of
from memplus.training.masked.example import Example, ExampleKind, ExampleMaker, Piece

__all__ = ["HELD_OUT_EVERY", "RetLLMExamples", "answer_to", "query_of"]

HELD_OUT_EVERY = 10
"""Of the texts every tenth is left out, the first one on: false writes are counted there."""
_LONGEST = 400
"""Characters of a sentence that holds nothing."""
_SPLIT: Split = "train"


@dataclass(frozen=True, kw_only=True)
class RetLLMExamples(ExampleKind):
    """An entry ``{kind: ret_llm, ...}``."""

    kind: ClassVar[str] = "ret_llm"

    texts: tuple[str, ...] = ()
    """Prose whose sentences hold nothing to store: files or patterns; none: no such examples."""
    reads: float = 0.4
    """Share of examples that ask."""
    writes: float = 0.3
    """Share of examples that are sentences with facts; those of the rest hold nothing."""
    notes: float = 0.5
    """Of both, the share that is about notes instead of relations."""
    empty: float = 0.1
    """Share of questions to which nothing is found."""
    rows: int = 8
    """Most rows of a result."""
    other_names: float = 0.4
    """Share of people whose names are not made of this package's syllables."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("reads", "writes", "notes", "empty", "other_names"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "it is a share")
        require(self.reads + self.writes <= 1, "writes", self.writes, "with reads it is above 1")
        require(self.rows >= 1, "rows", self.rows, "at least 1")

    def maker(self) -> ExampleMaker:
        """See ``ExampleKind.maker``."""
        return _Maker(self, _plain_sentences(self.texts))


def _plain_sentences(patterns: Sequence[str]) -> list[str]:
    """Sentences of the texts that are not held out."""
    files = files_of(patterns, "texts")
    texts = [one for i, one in enumerate(read_texts(files)) if i % HELD_OUT_EVERY]
    found = (" ".join(text[a:b].split()) for text in texts for a, b in split_sentences(text))
    return [one for one in found if 2 < len(one) <= _LONGEST]


@dataclass(frozen=True)
class _Maker:
    """Draws examples of a config."""

    config: RetLLMExamples
    plain: Sequence[str]
    names: OtherNames = field(default_factory=lambda: OtherNames(()))

    def make(self, index: int, random: Random) -> Example:
        """See ``ExampleMaker.make``."""
        share = random.random()
        notes = random.random() < self.config.notes
        if share < self.config.reads:
            return self._asked_note(random) if notes else self._asked(random)
        if share < self.config.reads + self.config.writes or not self.plain:
            return self._told_note(random) if notes else self._told(random)
        return self._nothing(random)

    # Sentences ----------------------------------------------------------------------------------

    def _nothing(self, random: Random) -> Example:
        return Example("nothing", (Piece(text_prompt(random.choice(self.plain))),))

    def _told(self, random: Random) -> Example:
        first = self._facts(random)
        sentence = self._said(first, random)
        facts = list(first)
        if random.random() < 0.15:
            second = self._facts(random, most=1)
            joint = random.choice((", and ", "; ", ", while "))
            sentence = f"{sentence.rstrip('.?')}{joint}{self._said(second, random)}"
            facts += second
        return _written(sentence, [fact.triple for fact in facts])

    def _said(self, facts: Sequence[Fact], random: Random) -> str:
        people = [fact.person for fact in facts]
        one = facts[0]
        return statement_of(people, one.relation, one.organisation, random, _SPLIT)

    def _told_note(self, random: Random) -> Example:
        note = self._note(random)
        if random.random() < 0.2:
            note = corrected(note, random.random().hex(), _SPLIT)
        return _written(note.statement, [_triple(note)])

    # Questions ----------------------------------------------------------------------------------

    def _asked(self, random: Random) -> Example:
        kind = random.choice(QUESTION_KINDS)
        (fact,) = self._facts(random, most=1)
        alias = kind in ("pr", "r", "ro") and bool(fact.relation.alias) and random.random() < 0.2
        question = question_about(kind, fact, random, _SPLIT, alias=alias)
        query = query_of(kind, fact)
        if alias:
            query = Query(query.first, fact.relation.alias, query.second)
        found: list[Fact] = []
        if random.random() >= self.config.empty:
            found = self._found(kind, fact, random)
        return _read("read", question, query, [one.triple for one in found], answer_to(kind, found))

    def _found(self, kind: QuestionKind, fact: Fact, random: Random) -> list[Fact]:
        """Rows of which each answers, the fact itself among them, in no order."""
        most = random.randint(1, self.config.rows)
        count = random.choice((1, 1, 2, 3, most))
        people = self._people(random, count)
        firms = make_organisations(random, count, _SPLIT)
        found = {fact.triple: fact}
        for person, firm in zip(people[1:], firms[1:]):
            one = Fact(
                fact.person if "p" in kind else person,
                fact.relation if "r" in kind else random.choice(RELATIONS),
                fact.organisation if "o" in kind else firm,
            )
            found[one.triple] = one
        rows = list(found.values())
        random.shuffle(rows)
        return rows

    def _asked_note(self, random: Random) -> Example:
        note = self._note(random)
        query = Query(note.subject, note.attribute, None)
        chance = random.random()
        if chance < self.config.empty:
            return _read("ask_note", note.question, query, [], ABSTENTION)
        if chance < self.config.empty + 0.05:
            # Somebody else's row, which a near look-up took for this one's.
            other = retold(note, self._people(random, 1)[0], random.random().hex(), _SPLIT)
            return _read("ask_note", note.question, query, [_triple(other)], ABSTENTION)
        rows = [note]
        while random.random() < 0.3 and len(rows) < self.config.rows:
            rows.append(corrected(rows[-1], random.random().hex(), _SPLIT))
        asked = note.question
        if random.random() < 0.1:
            rows, asked, query = self._nearly_called(note, rows, asked, random)
        return _read("ask_note", asked, query, [_triple(one) for one in rows], rows[-1].answer)

    def _nearly_called(
        self, note: Note, rows: list[Note], asked: str, random: Random
    ) -> tuple[list[Note], str, Query]:
        """The same, asked by an initial or the last name alone."""
        first, _, last = note.subject.partition(" ")
        short = random.choice((f"{first[0]}. {last}", last)) if last else note.subject
        query = Query(short, note.attribute, None)
        return rows, asked.replace(note.subject, short), query

    # Parts --------------------------------------------------------------------------------------

    def _people(self, random: Random, count: int) -> list[str]:
        if random.random() < self.config.other_names:
            people = self.names.draw(random, count)
            if all(can_be_kept(one) for one in people):
                return people
        return make_people(random, count, _SPLIT)

    def _facts(self, random: Random, most: int = 4) -> list[Fact]:
        """People who stand in one relation to one organisation."""
        count = random.choice((1, 1, 1, 2, 3, 4))
        people = self._people(random, min(count, most))
        (firm,) = make_organisations(random, 1, _SPLIT)
        relation = random.choice(RELATIONS)
        return [Fact(person, relation, firm) for person in people]

    def _note(self, random: Random) -> Note:
        seed = random.random().hex()
        if random.random() < self.config.other_names:
            (note,) = notes_about(self._people(random, 1), seed, _SPLIT)
            return note
        (note,) = make_notes(seed, 1, _SPLIT)
        return namesake(note, seed, _SPLIT) if random.random() < 0.2 else note


def _triple(note: Note) -> Triple:
    return note.subject, note.attribute, note.answer


def _written(sentence: str, triples: Sequence[Triple]) -> Example:
    pieces = (Piece(text_prompt(sentence)), Piece(write_text(triples), learned=True))
    return Example("write", pieces)


def _read(label: str, question: str, query: Query, rows: Sequence[Triple], answer: str) -> Example:
    # A long result is sometimes one that the controller has cut.
    left_out = len(question) if len(rows) > 3 and len(question) % 5 == 0 else 0
    pieces = (
        Piece(question_prompt(question)),
        Piece(query_text(query), learned=True),
        Piece(result_text(rows, left_out)),
        Piece(f" {answer}", learned=True),
    )
    return Example(label, pieces)


def query_of(kind: QuestionKind, fact: Fact) -> Query:
    """The query that a question of a kind about a fact should become."""
    return Query(
        fact.person if "p" in kind else None,
        fact.relation.name if "r" in kind else None,
        fact.organisation if "o" in kind else None,
    )


def answer_to(kind: QuestionKind, found: Sequence[Fact]) -> str:
    """What the rows that were found say, in words (table 1 of the paper)."""
    if not found:
        return ABSTENTION
    one = found[0]
    people = joined(list(dict.fromkeys(fact.person for fact in found)))
    many = len({fact.person for fact in found}) > 1
    if kind == "r":
        return f"{people}."
    if kind == "o":
        return f"{people} {'are' if many else 'is'} related to {one.organisation}."
    if kind == "ro":
        said = one.relation.plural if many else one.relation.singular
        return f"{people} {'are' if many else 'is'} {said} {one.organisation}."
    if kind == "pr":
        firms = joined([fact.organisation for fact in found])
        return f"{one.person} is {one.relation.singular} {firms}."
    parts = [f"is {fact.relation.singular} {fact.organisation}" for fact in found]
    return f"{one.person} {joined(parts)}."
