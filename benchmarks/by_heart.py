"""How much a trained system reads in its memory, and how much it answers by heart.

    python benchmarks/by_heart.py --system mplus,longmem:weights=FOLDER --data DATA --items 24

Questions of the training set are put to three sessions: one that was told the passage, one that was
told another passage of the same source, and one that was told nothing. What is right in the second
and the third was learned from the questions, whatever training's own figures say; beside them stand
questions that were held out, with their passage told. What is told is taken in before it is asked
for: a passage fills no segment of most systems, and would else stand as text before the question
(``--tail`` leaves it there). With ``--out`` a run that was stopped goes on where it was, a source
of one system at a time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from intervals import shown_share
from kept import Kept
from shapes import systems_parser

from memplus import MPlus
from memplus.data.notes import make_notes
from memplus.data.passages import PassageQuestions, Split, read_nq, read_squad
from memplus.data.statements import (
    HELD_OUT_TOPICS,
    Statement,
    read_statements,
    statement_topics,
)
from memplus.evaluation.engine.judging import contains
from memplus.systems.protocol import System
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

__all__ = ["Asked", "main", "right"]

_NOTES = 6000
"""Those that the shipped weights were trained on; training draws notes without end since then."""
_SQUAD = Path("squad/dev-v2.0.json.gz")
_NQ = Path("nq/lost-in-the-middle.nq-open-oracle.jsonl.gz")


@dataclass(frozen=True)
class Asked:
    """A passage and a question that it answers."""

    text: str
    question: str
    answers: tuple[str, ...]


def main() -> None:
    """Ask, and print what was right."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device).eval()
    shared = Shared(lambda: model)
    kept = Kept(given.out, "by heart")
    trained, held = (_sources(given.data, split) for split in ("train", "held_out"))
    found = []
    print("| system | source | told | another told | nothing told | held out, told |")
    print("|---|---|---|---|---|---|")
    for system in make_systems(given.system.split(","), shared):
        for source, all_of in trained.items():
            random = Random(f"{given.seed}/{source}")
            items = random.sample(all_of, min(given.items, len(all_of)))
            fresh = random.sample(held[source], min(given.items, len(held[source])))
            what = [f"{system.name}, {source}", dict(system.identity), repr((items, fresh))]
            what += ["tail"] if given.tail else []
            ask = partial(_counts, system, items, fresh, flush=not given.tail)
            counts = kept.find(what, ask)
            row = " | ".join(shown_share(*one) for one in counts)
            print(f"| {system.title} | {source} | {row} |", flush=True)
            found.append({"system": system.name, "source": source, "right": counts})
    print(json.dumps({"model": given.model, "rows": found}))


def _counts(
    system: System, items: Sequence[Asked], fresh: Sequence[Asked], *, flush: bool
) -> list[tuple[int, int]]:
    """What is right, and how much was asked: told, told another, told nothing, held out."""
    own, new = ([one.text for one in some] for some in (items, fresh))
    told = [(items, own), (items, [*own[1:], *own[:1]]), (items, [None] * len(items)), (fresh, new)]
    return [(right(system, some, texts, flush=flush), len(some)) for some, texts in told]


def _arguments() -> argparse.Namespace:
    parser = systems_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of SQuAD and NQ; else they are left out")
    parser.add_argument("--items", type=int, default=24, help="questions of each source")
    parser.add_argument("--tail", action="store_true", help="leave what fills no segment as text")
    parser.add_argument("--out", type=Path, help="file of what was found; is gone on with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _sources(data: Path | None, split: Split) -> dict[str, list[Asked]]:
    held = split == "held_out"
    topics = [one for one in statement_topics() if (one in HELD_OUT_TOPICS) == held]
    notes = [
        Asked(one.statement, one.question, (one.answer,))
        for one in make_notes("questions", _NOTES, split)
    ]
    found = {"statements": _each_question(read_statements(topics)), "notes": notes}
    if data is not None:
        passages = {"SQuAD": read_squad(data / _SQUAD, split), "NQ": read_nq(data / _NQ, split)}
        found |= {name: _each_question(all_of) for name, all_of in passages.items()}
    return found


def _each_question(passages: Sequence[PassageQuestions | Statement]) -> list[Asked]:
    return [
        Asked(one.text, asked.question, asked.answers)
        for one in passages
        for asked in one.questions
    ]


def right(
    system: System, items: Sequence[Asked], told: Sequence[str | None], *, flush: bool = True
) -> int:
    """How many questions are answered, each by a session of its own.

    Args:
        system: sessions of it are opened.
        items: what is asked.
        told: what each session is told before it; None: nothing.
        flush: whether all of it is taken in, and nothing left to stand before the question.
    """
    count = 0
    for one, text in zip(items, told, strict=True):
        session = system.open(0)
        if text is not None:
            session.write(text, "text")
            if flush:
                session.flush()
        (reply,) = session.ask([one.question])
        count += any(contains(reply.text, answer) for answer in one.answers)
    return count


if __name__ == "__main__":
    sys.exit(main())
