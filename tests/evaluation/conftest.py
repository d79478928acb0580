"""Texts and a model small enough that a whole evaluation takes a second."""

import pytest
from tests.fakes import make_mplus
from tests.systems.conftest import SMALL

from memplus import MPlus
from memplus.data.stream import Texts
from memplus.evaluation.engine.results import encode_with

BOOKS = [" ".join(f"One {word} {i}." for i in range(30)) for word in ("gate", "door", "wall")]


def words(texts: list[str]) -> list[list[int]]:
    """One token per word: its length."""
    return [[len(word) for word in text.split()] for text in texts]


@pytest.fixture(scope="session")
def model() -> MPlus:
    return make_mplus(config=SMALL)


@pytest.fixture(scope="session")
def texts(model: MPlus) -> Texts:
    return Texts.of(BOOKS, encode_with(model))
