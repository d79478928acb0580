"""What SCM's controller costs: the same questions under it, with yes to all, and by an oracle.

    python benchmarks/scm_controllers.py --model smollm2 --data DATA

Held-out statements, and with ``--data`` passages of SQuAD, are told among running text in one
stream and asked for at its end. Beside them stand requests that need nothing of it. All are put to
SCM under

- the controller that answers by default (``tuned`` where one comes along for the model), and the
  model as it is (``plain``);
- ``yes``: nobody is asked, the answer is always yes;
- ``oracle``: it knows what is true. Question 1, is anything told earlier needed: yes for what was
  told, no for requests. Question 2, can it be answered from this content: yes where the content is
  of a turn that holds the place where the answer was told, and the answer stands in it.

An oracle cannot be an option of the system: whoever asks a session does not say what is right. For
each it is printed how many questions were answered rightly, in how many prompts the answer stood,
how many tokens were called up, how many requests were given turns that they do not need, and how
often either question of the controller (of questions and requests) was answered as it is true, with
95% intervals; and how the oracle's answers differ, question by question. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
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
from memplus.data.passages import read_squad
from memplus.data.requests import make_requests
from memplus.data.stream import Stream, Texts, stated_at
from memplus.evaluation.engine.judging import contains
from memplus.evaluation.tasks.held_out import passage_items, statement_items
from memplus.evaluation.tasks.told import Item
from memplus.systems.protocol import Reply
from memplus.systems.scm.controller import Controller, Thresholds
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.session import SCMSession
from memplus.systems.scm.system import SCMSystem
from memplus.systems.shared import Shared

__all__ = ["main"]

SQUAD = "squad/dev-v2.0.json.gz"
ORACLE = "oracle"


@dataclass(frozen=True)
class Asked:
    """A question, and what is true of it."""

    text: str
    answers: tuple[str, ...] = ()
    """Any of them is right; none: a request that needs nothing."""
    place: tuple[int, int] = (0, 0)
    """First token of where the answer was told, and the one after its last."""
    heads: frozenset[str] = frozenset()
    """First lines of the turns that hold that place."""

    def answered_by(self, content: str) -> bool:
        """Whether a turn, or its summary, answers it."""
        return content.partition("\n")[0] in self.heads and self.named_in(content)

    def named_in(self, text: str) -> bool:
        """Whether a text says an answer."""
        return any(contains(text, one) for one in self.answers)


class Checked(Controller):
    """Answers as another controller, or as it is true, and keeps how often both agree.

    Args:
        other: the controller; None: the oracle.
    """

    def __init__(self, other: Controller | None) -> None:
        super().__init__(None, Thresholds())
        self.other = other
        self.about = Asked("")
        """What is being asked."""
        self.said: dict[str, list[tuple[bool, bool]]] = {"gate": [], "answers": []}
        """Question -> what is true, and what was answered."""

    def needs_memory(self, question: str) -> bool:
        """Question 1."""
        said = None if self.other is None else self.other.needs_memory(question)
        return self._kept("gate", true=bool(self.about.answers), said=said)

    def answers(self, content: str, question: str) -> bool:
        """Question 2."""
        said = None if self.other is None else self.other.answers(content, question)
        return self._kept("answers", true=self.about.answered_by(content), said=said)

    def _kept(self, which: str, *, true: bool, said: bool | None) -> bool:
        given = true if said is None else said
        self.said[which].append((true, given))
        return given


@dataclass
class Found:
    """What one controller led to."""

    right: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    """Whether the answer stood in the prompt."""
    tokens: list[int] = field(default_factory=list)
    """Of the turns in the prompt."""
    needless: list[bool] = field(default_factory=list)
    """Of each request: whether turns were called up for it."""


def tell(session: SCMSession, texts: Texts, items: Sequence[Item], given: Any) -> list[Asked]:
    """Tell a stream with the items in it, far from each other."""
    stream = Stream(texts, given.seed, "text")
    places = []
    for number, item in enumerate(items):
        stream.read_to((2 * number + 1) * given.tokens // (2 * len(items)))
        told = stream.tell_text(item.text)
        question, answers = item.questions[0]
        places.append((question, answers, stated_at(told, stream.pieces[-1], answers).stated))
    stream.read_to(given.tokens)
    session.write([piece.text for piece in stream.pieces], stream.source)
    session.flush()
    return [
        Asked(
            question,
            answers,
            (first, last),
            frozenset(
                turn.text.partition("\n")[0]
                for turn in session.stream.turns
                if turn.chunk.start < last and first < turn.chunk.start + turn.chunk.length
            ),
        )
        for question, answers, (first, last) in places
    ]


def asked(session: SCMSession, told: Sequence[Asked], requests: Sequence[str]) -> Found:
    """Put all questions and requests to a session."""
    found, controller = Found(), session.frame.controller
    assert isinstance(controller, Checked)
    for one in told:
        controller.about = one
        (reply,) = session.ask([one.text])
        found.right.append(one.named_in(reply.text))
        found.shown.append(_shows(reply, one))
        found.tokens.append(sum(session.frame.count(turn.text) for turn in reply.evidence or ()))
    for request in requests:
        controller.about = Asked(request)
        found.needless.append(bool(session.recall(request).selection.activation))
    return found


def _shows(reply: Reply, asked: Asked) -> bool:
    first, last = asked.place
    there = (one for one in reply.evidence or () if one.start < last and first < one.end)
    return any(asked.named_in(one.text) for one in there)


def controlled(shared: Shared) -> dict[str, SCMSystem]:
    """A system for each controller, whose answers are checked."""
    systems = {}
    for name in ("auto", "plain", "yes"):
        system = SCMSystem(shared, SCMOptions(controller=name))  # type: ignore[arg-type]
        systems.setdefault(system.answering, system)
    for system in systems.values():
        system.frame.controller = Checked(system.frame.controller)
    systems[ORACLE] = SCMSystem(shared, SCMOptions(controller="yes"))
    systems[ORACLE].frame.controller = Checked(None)
    first, *others = systems.values()
    for system in others:  # a summary follows from its text alone, and takes long
        system.frame.summaries = first.frame.summaries
    return systems


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask, and print what was right."""
    given = _arguments(arguments)
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, dtype=torch.float32, device=given.device).eval()
    shared = Shared(lambda: model)
    random = Random(given.seed)
    kinds = [list(statement_items((0,), ()))]
    if given.data:
        kinds.append([*passage_items("SQuAD", read_squad(given.data / SQUAD, "held_out"), (0,))])
    drawn = [random.sample(kind, -(-given.items // len(kinds))) for kind in kinds]
    items = [one for together in zip(*drawn, strict=True) for one in together][: given.items]
    systems = controlled(shared)
    session = next(iter(systems.values())).open(given.seed)
    texts = make_inputs(shared, given.data or Path("data"), given.texts).texts(given.tokens)
    told = tell(session, texts, items, given)
    requests = make_requests("gate/held_out", given.requests)
    print(
        "| controller | right | answer in the prompt | tokens called up | needless for requests |",
        end="",
    )
    print(" question 1 | question 2, yes | question 2, no | seconds |")
    print(f"|{'---|' * 9}")
    found: dict[str, Found] = {}
    rows: list[dict[str, Any]] = []
    for name, system in systems.items():
        started = time.monotonic()
        found[name] = asked(SCMSession(system.frame, session.stream), told, requests)
        rows.append(_row(name, found[name], system.frame.controller, time.monotonic() - started))
        print(f"| {' | '.join(shown_count(one) for one in rows[-1].values())} |", flush=True)
    for row in rows[:-1]:
        pairs = Pairs.of(zip(found[ORACLE].right, found[row["controller"]].right, strict=True))
        low, high = pairs.interval
        row["oracle_more"] = {"low": low, "high": high, "chance": pairs.chance}
        print(
            f"oracle - {row['controller']}: {low:.0%} to {high:.0%}, by chance {pairs.chance:.2g}"
        )
    turns = len(session.stream.turns)
    print(json.dumps({"model": given.model, "told": len(told), "turns": turns, "rows": rows}))


def _row(name: str, found: Found, controller: Controller, seconds: float) -> dict[str, Any]:
    assert isinstance(controller, Checked)
    gate, answers = controller.said["gate"], controller.said["answers"]
    return {
        "controller": name,
        "right": counted(found.right),
        "shown": counted(found.shown),
        "tokens": round(fmean(found.tokens)) if found.tokens else 0,
        "needless": counted(found.needless),
        "gate_right": counted([true == said for true, said in gate]),
        "yes_right": counted([said for true, said in answers if true]),
        "no_right": counted([not said for true, said in answers if not true]),
        "seconds": round(seconds),
    }


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    add_device(parser)
    parser.add_argument("--data", type=Path, help="the data folder; without it only statements")
    parser.add_argument("--texts", type=Path, nargs="+", help="prose; else as for bench")
    parser.add_argument("--items", type=int, default=12, help="told and asked for")
    parser.add_argument("--requests", type=int, default=12, help="that need nothing")
    parser.add_argument("--tokens", type=int, default=5000, help="told in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
