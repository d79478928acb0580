from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import pytest

from memplus.errors import ConfigError
from memplus.training.masked.example import Example, ExampleKind, ExampleMaker, Piece


@dataclass(frozen=True, kw_only=True)
class Numbers(ExampleKind):
    """A kind of its own: as long as this, and no longer."""

    kind: ClassVar[str] = "numbers"
    most: int = 9

    def maker(self) -> ExampleMaker:
        return self

    def make(self, index: int, random: Random) -> Example:
        number = str(random.randint(0, self.most))
        return Example("number", (Piece(f"{index}: "), Piece(number, learned=True)))


def test_a_kind_is_a_dataclass_that_makes_examples() -> None:
    made = Numbers(most=3).maker().make(7, Random(0))
    assert made.pieces[0] == Piece("7: ")
    assert made.pieces[1].learned
    assert made.ends
    assert made == Numbers(most=3).maker().make(7, Random(0))


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight"):
        Numbers(weight=0)
