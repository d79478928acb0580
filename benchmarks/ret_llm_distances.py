"""Does RET-LLM keep, find and say what it was told, however much was read since?

    python benchmarks/ret_llm_distances.py --novels BOOKS

Documents of 20 made-up statements ("A and B are customers of C") are told, each to a memory of its
own and followed by prose: 0 to 64k tokens of novels, which say nothing that is to be kept (every
tenth text of BOOKS, which training leaves out; no passage twice). Names, wordings and two of the
seven relations are in no training. Then questions of the six kinds are asked. Which fields a
question gives is its kind: p the person, r the relation, o the organisation. Of each question is
counted:

- stored: the table holds the rows that answer it, and no others of the kind;
- looked up: the model's own call finds exactly these rows;
- answered: the answer says exactly the names that it should;
- by hand: the same of a table in which every true triple was put by hand, so that what is lost here
  is lost in asking and answering, not in writing. It has no prose.

``--base`` puts the same questions to the plain model with the document in its prompt. Intervals are
Wilson's of 95%, as if questions of one document were independent. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from intervals import shown_share
from ret_llm import Asked, Told, is_right, make_parser, questions, statements_of

from memplus import MPlus
from memplus.data.corpus import read_texts
from memplus.data.relations import (
    QUESTION_KINDS,
    UNSEEN_RELATIONS,
    make_organisations,
    make_people,
)
from memplus.evaluation.engine.summary import wilson
from memplus.systems.protocol import Session
from memplus.systems.registry import make_systems
from memplus.systems.ret_llm.controller import ReadReply
from memplus.systems.ret_llm.system import RetLLMSystem
from memplus.systems.shared import Reference, Shared
from memplus.systems.triples.rows import Triple
from memplus.training.masked.ret_llm import HELD_OUT_EVERY

__all__ = ["main"]

DISTANCES = (0, 1_000, 4_000, 16_000, 64_000)
PEOPLE, FIRMS = 200, 50
"""Names of all documents."""
PEOPLE_OF_EACH, FIRMS_OF_EACH = 10, 8
"""Names of one document: few enough statements about each, so that its rows are few."""
STEPS = ("stored", "looked_up", "answered", "looked_up_by_hand", "answered_by_hand")
_STRETCH = 4_000
"""Tokens of prose that are told at once."""


class Novels:
    """Prose that goes on where it stopped.

    Args:
        texts: one behind the other; there may be none.
        reference: counts tokens.
    """

    def __init__(self, texts: Iterable[str], reference: Reference) -> None:
        self._text = "\n\n".join(texts)
        self._reference = reference
        self._at = 0

    def next(self, tokens: int) -> str:
        """Text of so many tokens.

        Raises:
            SystemExit: there is not so much left.
        """
        given = self._text[self._at : self._at + 8 * tokens]
        (ends,) = self._reference([given])
        if len(ends) < tokens:
            raise SystemExit("The novels are too short for these documents and distances.")
        self._at += ends[tokens - 1]
        return given[: ends[tokens - 1]]


@dataclass(frozen=True)
class Document:
    """What is told to one memory, and what is asked of it."""

    told: tuple[Told, ...]
    asked: tuple[Asked, ...]

    @property
    def text(self) -> str:
        """The statements."""
        return " ".join(one.text for one in self.told)

    @property
    def triples(self) -> list[Triple]:
        """What they say, each once."""
        return list(dict.fromkeys(Triple(*f.triple) for one in self.told for f in one.facts))


@dataclass(frozen=True)
class Outcome:
    """What became of one question."""

    kind: str
    distance: int
    stored: bool
    looked_up: bool
    answered: bool
    looked_up_by_hand: bool
    answered_by_hand: bool
    parsed: bool
    """The model's call could be carried out."""
    answered_by_base: bool | None = None
    """Of the plain model with the document in its prompt; None: it was not asked."""


@dataclass(frozen=True)
class Writing:
    """What became of one document and of the prose behind it."""

    distance: int
    wanted: int
    """Triples that it says."""
    written: int
    """Triples that stand in the table because of it."""
    right: int
    """Of these, the ones that it says."""
    wanted_unseen: int
    """As ``wanted``, of relations of no training."""
    right_unseen: int
    malformed: int
    """Calls for it that could not be carried out."""
    prose_tokens: int
    prose_writes: int
    """Triples that were written because of prose: none should be."""


def documents(count: int, each: int, statements: int, random: Random) -> list[Document]:
    """Documents about people and organisations of a common stock.

    Args:
        count: of documents.
        each: questions of each of the six kinds, fewer where two would ask the same.
        statements: of a document.
        random: what they follow from.
    """
    people = make_people(random, PEOPLE, "held_out")
    firms = make_organisations(random, FIRMS, "held_out")
    made = []
    for _ in range(count):
        chosen = random.sample(people, PEOPLE_OF_EACH), random.sample(firms, FIRMS_OF_EACH)
        told = statements_of(*chosen, statements, random)
        asked = questions(told, each * len(QUESTION_KINDS), random)
        made.append(Document(tuple(told), tuple({one.query: one for one in asked}.values())))
    return made


def names_of(told: Sequence[Document]) -> list[str]:
    """All people and organisations of documents."""
    facts = [fact for one in told for said in one.told for fact in said.facts]
    return sorted({name for one in facts for name in (one.person, one.organisation)})


def measured(
    system: RetLLMSystem,
    document: Document,
    prose: Sequence[str],
    known: Sequence[str],
    *,
    distance: int = 0,
    base: Callable[[str], Session] | None = None,
) -> tuple[list[Outcome], Writing]:
    """Tell a document and the prose behind it, and ask.

    Args:
        system: with its adapter.
        document: is told to a fresh memory.
        prose: is told behind it, piece by piece.
        known: names by which answers are judged.
        distance: tokens of prose that were wanted.
        base: opens a session of the plain model with a text in its prompt.
    """
    session = system.open(0)
    session.write(document.text, "document")
    session.flush()
    before, tokens = session.counts, session.tokens
    stored, wanted = {row.triple for row in session.table.rows()}, set(document.triples)
    unseen = {one.name for one in UNSEEN_RELATIONS}
    new = {one for one in wanted if one.relation in unseen}
    for piece in prose:
        session.write(piece, "prose")
    session.flush()
    by_hand = system.open(0)
    by_hand.table.add(document.triples, "by hand")
    plain = None if base is None else base(document.text)
    outcomes = []
    for one in document.asked:
        kept = {tuple(row.triple) for row in session.table.exact(*one.query.fields)}
        (reply,), (other,) = session.ask([one.text]), by_hand.ask([one.text])
        assert isinstance(reply, ReadReply)
        assert isinstance(other, ReadReply)
        outcome = Outcome(
            one.kind, distance, kept == one.rows,
            _found(reply) == one.rows, is_right(one, reply.text, known),
            _found(other) == one.rows, is_right(one, other.text, known),
            reply.query is not None, None if plain is None else _says(plain, one, known),
        )  # fmt: skip
        outcomes.append(outcome)
    writing = Writing(
        distance, len(wanted), len(stored), len(stored & wanted), len(new), len(stored & new),
        before.malformed, session.tokens - tokens, session.counts.triples - before.triples,
    )  # fmt: skip
    return outcomes, writing


def _found(reply: ReadReply) -> frozenset[tuple[str, ...]]:
    rows = reply.found.rows if reply.found is not None else ()
    return frozenset(tuple(row.triple) for row in rows)


def _says(session: Session, asked: Asked, known: Sequence[str]) -> bool:
    (reply,) = session.ask([asked.text], max_new_tokens=64)
    return is_right(asked, reply.text, known)


def share(right: int, asked: int) -> dict[str, Any]:
    """A share with its interval; None where nothing was asked."""
    interval = [round(one, 3) for one in wilson(right, asked)] if asked else None
    return {"right": right, "of": asked, "interval": interval}


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Each step's share of some questions."""
    steps = [*STEPS, "parsed"]
    steps += ["answered_by_base"] if outcomes and outcomes[0].answered_by_base is not None else []
    return {
        name: share(sum(getattr(one, name) for one in outcomes), len(outcomes)) for name in steps
    }


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines: all questions, every distance, every kind, and every kind at every distance."""
    distances = sorted({one.distance for one in outcomes})
    kinds = [kind for kind in QUESTION_KINDS if any(one.kind == kind for one in outcomes)]
    base = bool(outcomes) and outcomes[0].answered_by_base is not None
    steps = [*STEPS, *(["answered_by_base"] if base else [])]
    heads = ["kind", "tokens since", "questions", *(one.replace("_", " ") for one in steps)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]

    def line(kind: str | None, distance: int | None) -> None:
        some = [
            one for one in outcomes if kind in (None, one.kind) and distance in (None, one.distance)
        ]
        cells = [shown_share(sum(getattr(one, s) for one in some), len(some)) for s in steps]
        shown = "all" if distance is None else str(distance)
        lines.append(f"| {' | '.join([kind or 'all', shown, str(len(some)), *cells])} |")

    line(None, None)
    for distance in distances:
        line(None, distance)
    for kind in kinds:
        line(kind, None)
        for distance in distances:
            line(kind, distance)
    return lines


def written(writings: Sequence[Writing]) -> dict[str, Any]:
    """Triples of documents, and what was written of prose."""

    def total(name: str) -> int:
        return sum(getattr(one, name) for one in writings)

    tokens, writes = total("prose_tokens"), total("prose_writes")
    return {
        "documents": len(writings),
        "recall": share(total("right"), total("wanted")),
        "precision": share(total("right"), total("written")),
        "recall_unseen_relations": share(total("right_unseen"), total("wanted_unseen")),
        "malformed_calls": total("malformed"),
        "prose_tokens": tokens,
        "prose_writes": writes,
        "false_writes_per_1000": round(1000 * writes / tokens, 3) if tokens else None,
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    given = _parser().parse_args(arguments)
    if any(given.distances) and not given.novels:
        raise SystemExit("Distances other than 0 need --novels: texts to put in between.")
    told = documents(given.documents, given.each, given.statements, Random(given.seed))
    shared = Shared(
        lambda: MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device)
    )
    name = f"ret_llm:weights={given.weights}" if given.weights else "ret_llm"
    (system,) = make_systems([name], shared)
    assert isinstance(system, RetLLMSystem)
    texts = list(read_texts([given.novels]))[::HELD_OUT_EVERY] if given.novels else []
    novels = Novels((one[len(one) // 3 :] for one in texts), shared.reference)
    found = _run(system, told, given.distances, novels, _base(shared) if given.base else None)
    outcomes, writings = found
    _say(*table(outcomes))
    distances = sorted({one.distance for one in writings})
    result = {
        "model": given.model,
        "system": system.name,
        "questions": len(outcomes),
        "all": figures(outcomes),
        "written": written(writings),
        "written_by_distance": {
            one: written([w for w in writings if w.distance == one]) for one in distances
        },
        "by_kind_and_distance": [
            {"kind": kind, "distance": at, **figures(some)}
            for kind in QUESTION_KINDS
            for at in distances
            if (some := [one for one in outcomes if (one.kind, one.distance) == (kind, at)])
        ],
        "outcomes": [asdict(one) for one in outcomes],
    }
    _say("", f"written: {json.dumps(result['written'])}", json.dumps(result))
    return result


def _base(shared: Shared) -> Callable[[str], Session]:
    """Opens a session of the plain model with a text in its prompt."""
    (system,) = make_systems(["full_context:adapter=none"], shared)

    def opened(text: str) -> Session:
        session = system.open(0)
        session.write(text, "document")
        return session

    return opened


def _run(
    system: RetLLMSystem,
    told: Sequence[Document],
    distances: Sequence[int],
    novels: Novels,
    base: Callable[[str], Session] | None,
) -> tuple[list[Outcome], list[Writing]]:
    """All documents, at the distances in turn."""
    known = names_of(told)
    outcomes: list[Outcome] = []
    writings: list[Writing] = []
    started = time.perf_counter()
    for number, document in enumerate(told):
        distance = distances[number % len(distances)]
        stretches = [min(_STRETCH, distance - at) for at in range(0, distance, _STRETCH)]
        prose = [novels.next(tokens) for tokens in stretches]
        found, writing = measured(system, document, prose, known, distance=distance, base=base)
        outcomes += found
        writings.append(writing)
        seconds = time.perf_counter() - started
        print(f"{number + 1}/{len(told)} documents, {seconds:.0f} s", file=sys.stderr)
    return outcomes, writings


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{one}\n" for one in lines))
    sys.stdout.flush()


def _distances(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--documents", type=int, default=50, help="at the distances in turn")
    parser.add_argument("--statements", type=int, default=20, help="of a document")
    parser.add_argument("--each", type=int, default=2, help="questions of each kind, of a document")
    parser.add_argument(
        "--distances", type=_distances, default=DISTANCES,
        help="tokens of prose behind a document, with commas between; default: 0 to 64000",
    )  # fmt: skip
    parser.add_argument("--base", action="store_true", help="ask the plain model too")
    return parser


if __name__ == "__main__":
    main()
