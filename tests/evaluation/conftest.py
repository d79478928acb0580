"""Texts and a model small enough that a whole evaluation takes a second."""

import re
from collections.abc import Iterable

import pytest
from tests.systems.conftest import SHARED

from memplus import MPlus
from memplus.data.stream import Texts
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.plan import Plan
from memplus.systems.registry import usual_systems

BOOKS = [" ".join(f"One {word} {i}." for i in range(30)) for word in ("gate", "door", "wall")]


def words(texts: list[str]) -> list[list[int]]:
    """A reference that counts words."""
    found = [[match.end() for match in re.finditer(r"\S+", text)] for text in texts]
    return [[*ends[:-1], len(text)] if ends else [] for ends, text in zip(found, texts)]


def words_of(pieces: Iterable[str], start: int, end: int) -> str:
    """Some words of pieces of text."""
    return " ".join("".join(f" {piece} " for piece in pieces).split()[start:end])


def text_of(plan: Plan) -> list[str]:
    """All pieces of a plan."""
    return [piece for step in plan.steps for piece in step.pieces]


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="session")
def model() -> MPlus:
    return SHARED.mplus


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench(usual_systems(SHARED), SHARED.reference)


@pytest.fixture(scope="session")
def texts(bench: Bench) -> Texts:
    return Texts.of(BOOKS, bench.reference)
