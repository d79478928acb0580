"""Weights of a mechanism are taken whole or not at all."""

import pytest
import torch
from tests.fakes import make_mplus
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.systems.latent.mechanism import Mechanism


class OneNumber(Mechanism):  # type: ignore[type-arg]
    """A decoder with one trained number; nothing of it is run here."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.number = nn.Parameter(torch.zeros(2))

    empty = write = read = read_and_write = begin = restored = None  # type: ignore[assignment]


@pytest.fixture
def mechanism() -> OneNumber:
    return OneNumber(make_mplus().backbone)


def test_the_decoder_is_no_part_of_what_is_trained(mechanism: OneNumber) -> None:
    assert [name for name, _ in mechanism.named_parameters()] == ["number"]
    assert list(mechanism.trained()) == ["number"]


def test_weights_are_taken(mechanism: OneNumber) -> None:
    mechanism.take_weights({"number": torch.tensor([1.0, 2.0])})
    assert mechanism.trained()["number"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "number"),
        ({"number": torch.zeros(2), "other": torch.zeros(1)}, "other"),
        ({"number": torch.zeros(3)}, r"\[3\].*\[2\]"),
    ],
)
def test_other_weights_are_refused_and_nothing_is_taken(
    mechanism: OneNumber, weights: dict[str, Tensor], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        mechanism.take_weights(weights)
    assert mechanism.trained()["number"].tolist() == [0.0, 0.0]


def test_a_mechanism_without_a_schedule_does_not_mind_the_step(mechanism: OneNumber) -> None:
    before = mechanism.trained()["number"].tolist()
    mechanism.at_step(7)
    assert mechanism.trained()["number"].tolist() == before


class Plain(OneNumber):
    """Looks token by token, so that it need not be told what is asked."""

    def read(self, state: object, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        return ids + 1

    def begin(self, state: object, ids: Tensor, pad: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return ids + 2


def test_what_is_asked_makes_no_difference_to_a_mechanism_that_looks_token_by_token() -> None:
    plain, ids, about = Plain(make_mplus().backbone), torch.tensor([[4]]), torch.tensor([[0, 0]])
    assert plain.read_about(None, ids, about).tolist() == [[5]]
    assert plain.begin_about(None, ids, about).tolist() == [[6]]  # type: ignore[attr-defined]
