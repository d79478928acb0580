"""What each part of SCM adds: questions about long dialogues, with one part left out at a time.

    python benchmarks/scm_ablations.py --model smollm2 --data DATA

A small repetition of the paper's table 2 (2304.13343), whose dialogues and 105 questions people
wrote and judged. Here dialogues are made by rule: in every turn the user states something and shows
a passage, and the assistant acknowledges it. Statements that are asked for are held out, and stand
in the first half of a dialogue. Each is asked for by a single-turn question three times:

- *previous turn*: right after the turn that states it, which is flash memory then;
- *nearer*: ``--near`` turns later;
- *farther*: at the end, at least half of the dialogue later.

A *multi-turn* question, at the end, asks for two statements of two turns at once; an answer is
right if it says both. All are put to SCM as it is, and to its published ablations: without the
controller (whole turns while they fit, nothing is asked), without flash memory (the previous turn
is not given), without activation memory (nothing but the previous turn is). As in the paper's
evaluation six turns are called up (``--k``), and turns are so long that these do not fit together:
by default both are about three fifths of the paper's, as ``limit`` and ``flash_limit`` are.

For each it is printed how many answers were right, of how many questions all turns that answer them
stood in the prompt (whole or as summaries), and how many tokens were called up, with 95% intervals;
then how SCM as it is differs from every other row, question by question. The intervals take the
questions to be independent, although each statement is asked for three times and in a pair. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from intervals import Pairs, counted, shown_count
from shapes import add_device

from memplus import MPlus
from memplus.bench import make_inputs
from memplus.data.longmemeval_wordings import ACKNOWLEDGED, SHOWN
from memplus.data.statements import HELD_OUT_TOPICS, read_statements, statement_topics
from memplus.data.stream import RunningText
from memplus.evaluation.engine.judging import contains
from memplus.evaluation.tasks.held_out import statement_items
from memplus.evaluation.tasks.told import Item
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.session import SCMSession
from memplus.systems.scm.stream import Stream
from memplus.systems.scm.system import SCMSystem
from memplus.systems.shared import Shared

__all__ = ["main"]

WHOLE = "SCM"
ROWS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "without controller": {"naive": True, "gate": "off"},
    "without flash memory": {"flash": False},
    "without activation memory": {"activation": False},
}
"""What is left out -> options of ``scm``."""
PREVIOUS, NEARER, FARTHER, MULTI = "previous turn", "nearer", "farther", "multi-turn"
SINGLE = (PREVIOUS, NEARER, FARTHER)
_SOURCE = "dialogue"


@dataclass(frozen=True)
class Asked:
    """A question about a dialogue."""

    kind: str
    text: str
    answers: tuple[tuple[str, ...], ...]
    """Something of each must be said."""
    turns: frozenset[int]
    """Places, from 0, of the turns that state the answers."""
    after: int
    """How many turns are told before it is asked."""

    def answered_by(self, said: str) -> bool:
        """Whether an answer is right."""
        return all(any(contains(said, one) for one in forms) for forms in self.answers)


@dataclass(frozen=True)
class Dialogue:
    """What is told, turn by turn, and what is asked about it."""

    turns: tuple[tuple[str, str], ...]
    """Both sides of each."""
    asked: tuple[Asked, ...]


@dataclass
class Found:
    """What one row said to all questions, in their order."""

    right: list[bool] = field(default_factory=list)
    there: list[bool] = field(default_factory=list)
    """Whether all turns that answer the question stood in the prompt."""
    tokens: list[int] = field(default_factory=list)
    """Of the turns in the prompt."""


def make_dialogue(
    items: Sequence[Item], others: Sequence[str], text: RunningText, given: Any, random: Random
) -> Dialogue:
    """A dialogue that states the items in its first half.

    Args:
        items: asked for; no more than there are turns in half of it.
        others: statements that nobody asks for, at least as many as there are turns.
        text: passages are shown of it.
        given: the sizes: ``turns``, ``near``, and ``turn_tokens``.
        random: draws the others and the wordings.
    """
    half, count = given.turns // 2, len(items)
    places = [(2 * number + 1) * half // (2 * count) for number in range(count)]
    stated = random.sample(others, given.turns)
    for place, item in zip(places, items, strict=True):
        stated[place] = item.text
    turns = []
    for one in stated:
        shown = random.choice(SHOWN).format(_passage(text, given.turn_tokens))
        turns.append((f"User: {one} {shown}\n", f"Assistant: {random.choice(ACKNOWLEDGED)}\n"))
    asked = [
        Asked(kind, item.questions[0][0], (item.questions[0][1],), frozenset([place]), after)
        for place, item in zip(places, items, strict=True)
        for kind, after in zip(SINGLE, (place + 1, place + 1 + given.near, given.turns))
    ]
    last = [one for one in asked if one.kind == FARTHER]
    return Dialogue(tuple(turns), (*asked, *_pairs(last)))


def _passage(text: RunningText, tokens: int) -> str:
    """Sentences of together about so many tokens, in one line."""
    begun, parts = text.given, []
    while text.given - begun < tokens:
        parts.append(text.take().text)
    return " ".join("".join(parts).split())


def _pairs(asked: Sequence[Asked]) -> Iterator[Asked]:
    """One question for every two."""
    for one, other in zip(asked[::2], asked[1::2]):
        both = one.turns | other.turns
        answers = (*one.answers, *other.answers)
        yield Asked(MULTI, f"{one.text} {other.text}", answers, both, one.after)


def told(session: SCMSession, dialogue: Dialogue) -> dict[int, Stream]:
    """Tell a dialogue.

    Returns:
        The number of turns told -> the stream then, where something is asked.
    """
    stops = {one.after for one in dialogue.asked}
    streams = {}
    for number, (said, answered) in enumerate(dialogue.turns, start=1):
        session.tell(said, answered, _SOURCE)
        if number in stops:
            streams[number] = session.stream
    return streams


def ask(
    system: SCMSystem, streams: dict[int, Stream], asked: Sequence[Asked], found: Found
) -> None:
    """Put all questions about a dialogue to one row's system."""
    for one in asked:
        stream = streams[one.after]
        (reply,) = SCMSession(system.frame, stream).ask([one.text])
        place = {turn.chunk.start: number for number, turn in enumerate(stream.turns)}
        evidence = reply.evidence or ()
        found.right.append(one.answered_by(reply.text))
        found.there.append(one.turns <= {place[quoted.start] for quoted in evidence})
        found.tokens.append(sum(system.frame.count(quoted.text) for quoted in evidence))


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask, and print what was right."""
    given = _arguments(arguments)
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, dtype=torch.float32, device=given.device).eval()
    shared = Shared(lambda: model)
    systems = {
        name: SCMSystem(shared, SCMOptions(k=given.k, **options)) for name, options in ROWS.items()
    }
    summaries = systems[WHOLE].frame.summaries
    for system in systems.values():  # a summary follows from its text alone, and takes long
        system.frame.summaries = summaries
    found = {name: Found() for name in systems}
    seconds = dict.fromkeys(systems, 0.0)
    asked: list[Asked] = []
    for dialogue in _dialogues(shared, given):
        streams = told(systems[WHOLE].open(given.seed), dialogue)
        asked += dialogue.asked
        for name, system in systems.items():
            started = time.monotonic()
            ask(system, streams, dialogue.asked, found[name])
            seconds[name] += time.monotonic() - started
            print(f"{len(asked)} questions, {name}: {seconds[name]:.0f} s", file=sys.stderr)
    rows = [_row(name, asked, found[name], seconds[name]) for name in systems]
    print(f"SCM is: {systems[WHOLE].title}")
    print(f"| | {' | '.join(one for one in rows[0] if one != 'row')} |")
    print(f"|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(shown_count(one) for one in row.values())} |")
    for row in rows[1:]:
        pairs = Pairs.of(zip(found[WHOLE].right, found[row["row"]].right, strict=True))
        low, high = pairs.interval
        row["less_than_scm"] = {"low": low, "high": high, "chance": pairs.chance}
        print(f"SCM - {row['row']}: {low:.0%} to {high:.0%}, by chance {pairs.chance:.2g}")
    print(json.dumps({"model": given.model, "questions": len(asked), "rows": rows}))


def _dialogues(shared: Shared, given: argparse.Namespace) -> Iterator[Dialogue]:
    random = Random(given.seed)
    topics = [topic for topic in statement_topics() if topic not in HELD_OUT_TOPICS]
    others = [one.text for one in read_statements(topics)]
    tokens = given.dialogues * given.turns * given.turn_tokens
    inputs = make_inputs(shared, given.data or Path("data"), given.texts)
    text = RunningText(inputs.texts(tokens), given.seed)
    items = random.sample(statement_items((0,), ()), given.dialogues * given.items)
    for first in range(0, len(items), given.items):
        own = items[first : first + given.items]
        yield make_dialogue(own, others, text, given, random)


def _row(name: str, asked: Sequence[Asked], found: Found, seconds: float) -> dict[str, Any]:
    kinds = [one.kind for one in asked]

    def share(values: Sequence[bool], *wanted: str) -> dict[str, Any]:
        chosen = [one for one, kind in zip(values, kinds, strict=True) if kind in wanted]
        return counted(chosen)

    return {
        "row": name,
        "right": share(found.right, *SINGLE, MULTI),
        "single-turn": share(found.right, *SINGLE),
        **{kind: share(found.right, kind) for kind in (*SINGLE, MULTI)},
        "turns in the prompt": share(found.there, *SINGLE, MULTI),
        "tokens called up": round(fmean(found.tokens)),
        "seconds": round(seconds),
    }


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    add_device(parser)
    parser.add_argument("--data", type=Path, help="the data folder, for prose")
    parser.add_argument("--texts", type=Path, nargs="+", help="prose; else as for bench")
    parser.add_argument("--dialogues", type=int, default=4)
    parser.add_argument("--turns", type=int, default=48, help="of each dialogue")
    parser.add_argument("--items", type=int, default=8, help="statements asked for, of each")
    parser.add_argument("--near", type=int, default=5, help="turns between one and its question")
    parser.add_argument("--turn-tokens", type=int, default=220, help="of the passage in a turn")
    parser.add_argument("--k", type=int, default=6, help="turns called up at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.items < 2 or given.dialogues < 1:
        parser.error("two items are needed for a multi-turn question, and one dialogue")
    if not 0 < given.near < given.turns // 2 or given.items > given.turns // 2:
        parser.error("items and --near must fit into half of the turns")
    return given


if __name__ == "__main__":
    main()
