"""What RET-LLM writes, finds and answers, about names, relations and wordings of no training.

    python benchmarks/ret_llm.py --model smollm2 --statements 100 --questions 60 --novels BOOKS

Made-up statements stand in documents, each followed by prose, which must cause no writes (every
tenth text of BOOKS, which training leaves out; without BOOKS there is no prose). Then questions of
the six kinds, to what was written; the same to a table in which every triple was put by hand; and
the first ones to the plain base model with all statements in its prompt. The last line is JSON.
All of it is one memory. ``ret_llm_distances.py`` gives each document a memory of its own, so that
all six kinds can be asked, and says how much prose came between.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from shapes import add_device

from memplus import MPlus
from memplus.data.corpus import read_texts
from memplus.data.relations import (
    QUESTION_KINDS,
    RELATIONS,
    UNSEEN_RELATIONS,
    Fact,
    QuestionKind,
    make_organisations,
    make_people,
    question_about,
    statement_of,
)
from memplus.evaluation.engine.summary import wilson
from memplus.systems.registry import make_systems
from memplus.systems.ret_llm.controller import ReadReply
from memplus.systems.ret_llm.grammar import Query
from memplus.systems.ret_llm.session import RetLLMSession
from memplus.systems.ret_llm.system import RetLLMSystem
from memplus.systems.shared import Shared
from memplus.systems.triples.rows import Triple
from memplus.training.masked.ret_llm import HELD_OUT_EVERY, query_of

__all__ = ["main"]

_RELATIONS = (*RELATIONS[:5], *UNSEEN_RELATIONS)
_MOST_ROWS = 8
"""A question with more right rows than these is not asked: training has no longer results."""
_DOCUMENT = 20
"""Statements of a document."""


@dataclass(frozen=True)
class Told:
    """A statement and its facts."""

    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Asked:
    """A question, the rows that answer it, and the names that its answer says."""

    kind: QuestionKind
    text: str
    rows: frozenset[tuple[str, str, str]]
    names: frozenset[str]
    given: frozenset[str]
    """Names that stand in the question."""
    query: Query
    """What a right call asks."""


def statements(count: int, random: Random) -> list[Told]:
    """So many statements of one to three people, a fifth as many people, as many organisations."""
    people = make_people(random, max(6, count // 5), "held_out")
    firms = make_organisations(random, max(4, count // 5), "held_out")
    return statements_of(people, firms, count, random)


def statements_of(
    people: Sequence[str], firms: Sequence[str], count: int, random: Random
) -> list[Told]:
    """So many statements of one to three of some people, each about one of some organisations."""
    made: list[Told] = []
    for _ in range(count):
        relation, firm = random.choice(_RELATIONS), random.choice(firms)
        chosen = random.sample(people, random.choice((1, 1, 1, 2, 3)))
        text = statement_of(chosen, relation, firm, random, "held_out")
        made.append(Told(text, tuple(Fact(one, relation, firm) for one in chosen)))
    return made


def questions(told: Sequence[Told], count: int, random: Random) -> list[Asked]:
    """So many questions, of each kind as many; fewer where a kind has too many right rows."""
    facts = list(dict.fromkeys(fact for one in told for fact in one.facts))
    made: list[Asked] = []
    for number in range(count):
        kind = QUESTION_KINDS[number % len(QUESTION_KINDS)]
        for fact in random.sample(facts, len(facts)):
            right = [
                one
                for one in facts
                if ("p" not in kind or one.person == fact.person)
                and ("r" not in kind or one.relation == fact.relation)
                and ("o" not in kind or one.organisation == fact.organisation)
            ]
            if len(right) <= _MOST_ROWS:
                made.append(_asked(kind, fact, right, random))
                break
    return made


def _asked(kind: QuestionKind, fact: Fact, right: Sequence[Fact], random: Random) -> Asked:
    said = {
        "p": {one.organisation for one in right},
        "pr": {one.organisation for one in right},
        "po": {one.relation.name for one in right},
    }.get(kind, {one.person for one in right})
    given = {fact.person} if "p" in kind else set()
    given |= {fact.organisation} if "o" in kind else set()
    text = question_about(kind, fact, random, "held_out")
    rows = frozenset(one.triple for one in right)
    query = query_of(kind, fact)
    return Asked(kind, text, rows, frozenset(said), frozenset(given), query)


def is_right(asked: Asked, answer: str, known: Sequence[str]) -> bool:
    """Whether an answer says exactly the names that it should, beside those of the question.

    Who is asked for by relation alone may be named with the right organisations.
    """
    if asked.kind == "po":
        named = {one.name for one in _RELATIONS if one.name in answer}
        return named == asked.names
    beside = {organisation for _, _, organisation in asked.rows} if asked.kind == "r" else set()
    return _named(answer, known) - asked.given - beside == asked.names


def _named(answer: str, known: Sequence[str]) -> set[str]:
    """The names that an answer says; one that is a part of a longer one there is not said."""
    found = set()
    for name in sorted(known, key=len, reverse=True):
        if name in answer:
            found.add(name)
            answer = answer.replace(name, "\0")
    return found


def told_to(session: RetLLMSession, told: Sequence[Told], prose: Sequence[str], each: int) -> int:
    """Write documents, each followed by prose; returns the tokens of prose."""
    tokens = 0
    for number in range(0, len(told), _DOCUMENT):
        document = told[number : number + _DOCUMENT]
        session.write(" ".join(one.text for one in document), f"document {number}")
        text = prose[(number // _DOCUMENT) % len(prose)] if prose and each else ""
        if text:
            before = session.tokens
            session.write(text[: each * 5], f"prose {number}")
            tokens += session.tokens - before
    session.flush()
    return tokens


def written(session: RetLLMSession, told: Sequence[Told]) -> dict[str, Any]:
    """Precision and recall of the triples of statements, by exact strings."""
    wanted = {fact.triple for one in told for fact in one.facts}
    from_prose, found = 0, set()
    for row in session.table.rows():
        if all(origin.source.startswith("prose") for origin in row.origins):
            from_prose += 1
        else:
            found.add(tuple(row.triple))
    unseen = {one.name for one in UNSEEN_RELATIONS}
    new = {one for one in wanted if one[1] in unseen}
    return {
        "triples_wanted": len(wanted),
        "precision": len(found & wanted) / max(1, len(found)),
        "recall": len(found & wanted) / len(wanted),
        "recall_unseen_relations": len(found & new) / max(1, len(new)),
        "rows_from_prose": from_prose,
        "malformed_calls": session.counts.malformed,
    }


def answered(
    session: RetLLMSession, asked: Sequence[Asked], known: Sequence[str]
) -> dict[str, Any]:
    """Calls that parse, rows found and answers, over all questions and by kind."""
    started = time.perf_counter()
    replies = [session.ask([one.text])[0] for one in asked]
    seconds = time.perf_counter() - started
    reads = [one for one in replies if isinstance(one, ReadReply)]
    rows = [
        one.found is not None and {tuple(row.triple) for row in one.found.rows} == wanted.rows
        for one, wanted in zip(reads, asked, strict=True)
    ]
    right = [is_right(one, reply.text, known) for one, reply in zip(asked, reads, strict=True)]
    by_kind = {
        kind: [sum(r for r, one in zip(right, asked) if one.kind == kind),
               sum(one.kind == kind for one in asked)]
        for kind in QUESTION_KINDS
    }  # fmt: skip
    return {
        "questions": len(asked),
        "calls_that_parse": sum(one.query is not None for one in reads) / len(asked),
        "overshot": sum(one.overshot for one in reads) / len(asked),
        "near": sum(one.found is not None and one.found.how == "near" for one in reads),
        "right_rows": sum(rows) / len(asked),
        "right": sum(right) / len(asked),
        "right_interval": wilson(sum(right), len(asked)),
        "right_by_kind": by_kind,
        "seconds_per_question": seconds / len(asked),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    given = _parser().parse_args(arguments)
    random = Random(given.seed)
    told = statements(given.statements, random)
    asked = questions(told, given.questions, random)
    known = sorted({name for one in told for f in one.facts for name in (f.person, f.organisation)})
    shared = Shared(
        lambda: MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device)
    )
    (system,) = make_systems([f"ret_llm:weights={given.weights}" if given.weights else "ret_llm"],
                             shared)  # fmt: skip
    assert isinstance(system, RetLLMSystem)
    texts = list(read_texts([given.novels])) if given.novels else []
    prose = [text[len(text) // 3 :] for text in texts[::HELD_OUT_EVERY]]
    session = system.open(given.seed)
    started = time.perf_counter()
    tokens = told_to(session, told, prose, given.prose_tokens)
    seconds = time.perf_counter() - started
    result: dict[str, Any] = {"model": given.model, "system": system.name, "prose_tokens": tokens}
    result |= written(session, told) | {"tokens_per_second": session.tokens / seconds}
    result["false_writes_per_1000"] = 1000 * result["rows_from_prose"] / tokens if tokens else None
    _show("written", result)
    result["asked"] = answered(session, asked, known)
    _show("asked", result["asked"])
    by_hand = system.open(given.seed)
    for one in told:
        by_hand.table.add([Triple(*fact.triple) for fact in one.facts], "by hand")
    result["by_hand"] = answered(by_hand, asked, known)
    _show("asked of exact triples", result["by_hand"])
    if given.base_questions:
        base = make_systems(["full_context:adapter=none"], shared)[0].open(given.seed)
        base.write("\n".join(one.text for one in told), "statements")
        few = asked[: given.base_questions]
        replies = [base.ask([one.text], max_new_tokens=64)[0].text for one in few]
        right = sum(is_right(one, text, known) for one, text in zip(few, replies, strict=True))
        result["base"] = {"questions": len(few), "right": right / len(few)}
        _show("base model with the statements in its prompt", result["base"])
    sys.stdout.write(json.dumps(result) + "\n")
    return result


def _show(what: str, figures: dict[str, Any]) -> None:
    sys.stdout.write(f"{what}: {json.dumps(figures)}\n")
    sys.stdout.flush()


def make_parser(text: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark that tells RET-LLM statements.

    Args:
        text: the benchmark's docstring, whose first line describes it.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0] if text else "")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    add_device(parser)
    parser.add_argument("--weights", default="", help="folder of an adapter, or none")
    parser.add_argument("--novels", type=Path, help="texts of which every tenth is read")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--statements", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--base-questions", type=int, default=60)
    parser.add_argument("--prose-tokens", type=int, default=1000, help="about, behind a document")
    return parser


if __name__ == "__main__":
    main()
