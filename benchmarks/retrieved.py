"""What a question retrieves of what a session was told, for ``memlong.py``."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from kept import Kept

from memplus.data.stream import Told
from memplus.data.word_search import best_of
from memplus.evaluation.engine.plan import Plan, Question
from memplus.systems.latent.session import LatentSession
from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.passages_in_prompt import PassageSession
from memplus.systems.protocol import ChatPrompt, System

__all__ = ["ASKED", "BEST", "Line", "among", "looked_up", "told_lines"]

BEST = (1, 4, 8)
"""How many of the best are looked at."""
ASKED = "asked"
"""The kind of questions whose retrieving is counted, where any is."""
Line = dict[str, Any]
_Spans = list[tuple[int, int]]


def looked_up(session: Any, question: Question, *, count: bool = False) -> Line:
    """Whether a part that holds words of the answer is there, and its place among those retrieved.

    Args:
        session: MemLong's, or one that puts passages in the prompt.
        question: whose answer was told.
        count: whether what it retrieves is counted, as ``ask(..., counts=True)`` counts it.
    """
    told = question.told
    if told is None:
        raise ValueError(f"the answer of {question.text!r} was never told")
    if isinstance(session, LatentSession):
        spans, found = _of_a_bank(session, question.text, count=count)
    elif isinstance(session, PassageSession):
        spans, found = _of_passages(session, question.text)
    else:
        raise TypeError(f"{type(session).__name__} retrieves no parts of the text")
    right = {place for place, span in enumerate(spans) if _meets(span, told)}
    rank = next((rank for rank, place in enumerate(found) if place in right), None)
    return {"there": bool(right), "rank": rank, "parts": len(spans)}


def _meets(span: tuple[int, int], told: Told) -> bool:
    start, end = told.stated
    return span[0] < end and start < span[1]


def _of_a_bank(session: LatentSession, text: str, *, count: bool) -> tuple[_Spans, list[int]]:
    """Where the chunks of a bank stand in the text, and those retrieved, the best first."""
    mechanism = session.tools.mechanism
    if not isinstance(mechanism, MemLong):
        raise TypeError(f"{session.system.name} retrieves no chunks")
    prompt = session.tools.prompt(ChatPrompt(text)).behind(session.tail)
    device = mechanism.backbone.device
    ids, about = (torch.tensor([list(one)], device=device) for one in (prompt.ids, prompt.about))
    with mechanism.backbone.lock, torch.no_grad():
        found = mechanism.retrieved(session.state, ids, about)
    (bank,) = session.state.banks
    starts = [int(one) for one in bank.chunks["starts"]]
    if count:
        session.state = session.state.counted(found)
    spans = [(start, start + length) for start, length in zip(starts, bank.lengths, strict=True)]
    return spans, found[0]


def _of_passages(session: PassageSession, text: str) -> tuple[_Spans, list[int]]:
    spans = [(one.start, one.end) for one in session.passages.items]
    return spans, best_of(session.index.scores(text), max(BEST))


def told_lines(kept: Kept, system: System, plan: Plan, *, count: bool = False) -> list[Line]:
    """What every question of a plan retrieves, in order, if its answer was told.

    Args:
        kept: what was found before.
        system: a session of it is told the plan's text.
        plan: text and questions.
        count: whether what the questions of kind ``ASKED`` retrieve is counted.
    """
    name = f"{system.name}, {plan.name}"
    what = [name, dict(system.identity), repr(plan), count]
    found: list[Line] = kept.find(what, partial(_lines, system, plan, count=count))
    print(f"{name}: {len(found)} questions", file=sys.stderr)
    return found


def _lines(system: System, plan: Plan, *, count: bool) -> list[Line]:
    session = system.open(plan.seed)
    lines = []
    for step in plan.steps:
        session.write(list(step.pieces), step.source)
        for one in step.questions:
            if one.told is not None:
                looked = looked_up(session, one, count=count and one.kind == ASKED)
                own = {"seed": plan.seed, "key": one.key, "kind": one.kind, "wanted": one.wanted}
                lines.append({**own, **looked})
    return lines


def among(line: Line, best: int) -> bool:
    """Whether a right part is among so many of the best."""
    return line["rank"] is not None and line["rank"] < best
