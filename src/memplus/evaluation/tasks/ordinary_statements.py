"""Ordinary statements, each told to a new session and asked for at once.

A model that was trained on one kind of sentence does not understand them. It should say so: the
answers count as right, declined or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplus.data.outside import Statement
from memplus.data.stream import Reference, Told
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step

__all__ = ["STATEMENT", "statement_judge", "statement_plans"]

STATEMENT = "statement"


def statement_judge(min_confidence: float | None) -> Judge:
    """An answer is right that holds one of the right ones; what is unsure is declined.

    Args:
        min_confidence: below which systems that know how sure they are decline; None: their own.
    """
    return Judge("contains", explained=True, min_confidence=min_confidence)


def statement_plans(statements: Sequence[Statement], reference: Reference, seed: int) -> list[Plan]:
    """A plan for each statement: it is told, and its question is asked.

    Args:
        statements: what is told.
        reference: counts the tokens.
        seed: of the sessions.
    """
    counts = [len(ends) for ends in reference([one.statement for one in statements])]
    return [
        _plan(index, one, tokens, seed)
        for index, (one, tokens) in enumerate(zip(statements, counts, strict=True))
    ]


def _plan(index: int, one: Statement, tokens: int, seed: int) -> Plan:
    told = Told(STATEMENT, 0, tokens)
    key = f"{STATEMENT}/{index}"
    asked = Question(key, STATEMENT, one.question, one.answers, 0, 0, told)
    blank = Question(key, STATEMENT, one.question, one.answers)
    step = Step((one.statement,), tokens, STATEMENT, (asked,))
    return Plan(f"statement {index}", seed, (step,), (blank,))
