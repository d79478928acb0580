"""A text that goes on token by token is the text read at once; and what it looks at."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import make_model
from tests.systems.lamemo.slow import FAMILIES, made, text
from torch import Tensor

from memplus.systems.lamemo.mechanism import LaMemo
from memplus.systems.lamemo.window import Window

CLOSE = 2e-5


def behind(mechanism: LaMemo, tokens: int) -> Window:
    return mechanism.write(mechanism.empty(1), text(tokens))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("lookahead", ["mirrored", "off"])
@torch.no_grad()
def test_going_on_is_reading_at_once(name: str, lookahead: str) -> None:
    """Left padding, prompts longer than a segment, answers that begin segments of their own."""
    mechanism = made(name, lookahead=lookahead)
    window = behind(mechanism, 11)
    lengths, total = [9, 4, 1, 5, 6], 9
    rows = len(lengths)
    ids, more = text(total, rows=rows, seed=1), text(12, rows=rows, seed=2)
    pad = torch.tensor([total - one for one in lengths])
    state = window.repeated(rows)
    decoding = mechanism.begin(state, ids, pad)
    # What comes later changes nothing before it, so that one read tells of every step.
    whole = mechanism.read(state, torch.cat([ids, more], dim=1), pad)
    for step in range(more.shape[1] + 1):
        assert (decoding.hidden - whole[:, total - 1 + step]).abs().max() < CLOSE, step
        if step < more.shape[1]:
            decoding.step(more[:, step])


@torch.no_grad()
def test_going_on_behind_nothing_is_the_plain_model() -> None:
    mechanism = made(random=False, lookahead="off", memory=40)
    ids = text(14)
    decoding = mechanism.begin(mechanism.empty(1), ids[:, :4])
    plain = mechanism.backbone.decoder(ids).last_hidden_state
    for place in range(4, 14):
        assert (decoding.hidden - plain[:, place - 1]).abs().max() < CLOSE
        decoding.step(ids[:, place])


@torch.no_grad()
def test_the_state_stays_and_what_was_given_out_stays() -> None:
    mechanism = made()
    window = behind(mechanism, 11)
    before = {name: one.clone() for name, one in window.tensors.items()}
    decoding = mechanism.begin(window, text(7, seed=1))
    hidden = decoding.hidden
    kept = hidden.clone()
    for token in text(6, seed=2)[0]:
        decoding.step(token[None])
    assert torch.equal(hidden, kept)
    assert all(torch.equal(before[name], one) for name, one in window.tensors.items())


def attention_of(ids: Tensor, written: int, first: int) -> Tensor:
    """[written] the plain model's attention from place ``first`` on, over layers and heads."""
    model = make_model("llama", attention="eager")
    found = model(ids, output_attentions=True).attentions
    return torch.stack(found).mean(dim=(0, 2))[0, first:, :written].sum(dim=0)


@torch.no_grad()
def test_shares_are_the_attention_to_what_was_written() -> None:
    mechanism = made(random=False, lookahead="off", segment=40, memory=80)
    ids = text(80)
    window = mechanism.write(mechanism.empty(1), ids[:, :70])
    decoding = mechanism.begin(window, ids[:, 70:75])
    looks = attention_of(ids[:, :75], 70, 74)
    for place in range(75, 80):
        check(decoding.shares[0], looks)
        decoding.step(ids[:, place])
        looks = attention_of(ids[:, : place + 1], 70, 74)
    check(decoding.shares[0], looks)


def check(shares: list, looks: Tensor) -> None:  # type: ignore[type-arg]
    assert sorted((one.start, one.end) for one in shares) == [(0, 32), (32, 64), (64, 70)]
    assert [one.share for one in shares] == sorted((one.share for one in shares), reverse=True)
    for one in shares:
        expected = float(looks[one.start : one.end].sum() / looks.sum())
        assert one.share == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_shares_are_counted_from_the_first_token_and_of_the_window_alone() -> None:
    mechanism = made(segment=10, memory=50)
    decoding = mechanism.begin(behind(mechanism, 100).repeated(2), text(8, rows=2, seed=3))
    for row in decoding.shares:
        assert sorted((one.start, one.end) for one in row) == [(50, 64), (64, 96), (96, 100)]
        assert sum(one.share for one in row) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_what_moved_on_counts_for_the_positions_that_are_still_there() -> None:
    mechanism = made(segment=10, memory=50)
    decoding = mechanism.begin(behind(mechanism, 100), text(35, seed=3))
    (row,) = decoding.shares
    assert sum(one.share for one in row) == pytest.approx(1, abs=1e-5)
    assert next(one.share for one in row if one.start == 50) == 0
    for token in text(40, seed=4)[0]:
        decoding.step(token[None])
    assert sum(one.share for one in decoding.shares[0]) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_behind_nothing_there_is_nothing_to_stand_on() -> None:
    mechanism = made()
    decoding = mechanism.begin(mechanism.empty(2), text(3, rows=2))
    decoding.step(torch.tensor([1, 2]))
    assert decoding.shares == [[], []]
