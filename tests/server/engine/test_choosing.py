from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch

from memplus.server.engine.choosing import Chooser
from memplus.server.engine.requests import Sampling
from memplus.server.engine.spelling import Spelling

LOGITS = torch.log(torch.tensor([0.05, 0.5, 0.1, 0.3, 0.05]))


class Letters:
    """A tokenizer that knows five letters."""

    added_tokens_decoder: ClassVar[dict[int, str]] = {}

    def convert_ids_to_tokens(self, id: int) -> str:
        return "abcde"[id]


spelt = Spelling(Letters(), lambda ids: "".join("abcde"[one] for one in ids))


def drawn(count: int = 2000, **rules: object) -> list[float]:
    """How often each token is drawn."""
    chooser = Chooser(Sampling(1, **{"seed": 3, "temperature": 1.0} | rules), spelt)  # type: ignore[arg-type]
    found = [chooser.choose(LOGITS) for _ in range(count)]
    return [found.count(token) / count for token in range(len(LOGITS))]


def test_without_temperature_the_likeliest_token_is_taken() -> None:
    assert Chooser(Sampling(1), spelt).choose(LOGITS) == 1


def test_tokens_are_drawn_by_their_chance() -> None:
    assert drawn() == pytest.approx([0.05, 0.5, 0.1, 0.3, 0.05], abs=0.03)


def test_temperature_flattens_or_sharpens() -> None:
    chances = (LOGITS / 0.5).softmax(0).tolist()
    assert drawn(temperature=0.5) == pytest.approx(chances, abs=0.03)


def test_top_p_leaves_the_likeliest() -> None:
    assert drawn(top_p=0.75) == pytest.approx([0, 0.625, 0, 0.375, 0], abs=0.03)
    assert drawn(200, top_p=1e-6) == [0, 1, 0, 0, 0]


def test_the_same_seed_draws_the_same_tokens_though_chances_differ_slightly() -> None:
    near = LOGITS + 1e-6 * torch.randn(5, generator=torch.Generator().manual_seed(0))
    first, second = (Chooser(Sampling(1, temperature=1.0, seed=8), spelt) for _ in range(2))
    assert [first.choose(LOGITS) for _ in range(200)] == [second.choose(near) for _ in range(200)]


def test_no_seed_draws_anew_each_time() -> None:
    runs = {tuple(round(x, 3) for x in drawn(300, seed=None)) for _ in range(4)}
    assert len(runs) > 1


def test_scores_are_of_the_model_itself() -> None:
    chooser = Chooser(Sampling(1, temperature=0.1, logprobs=2), spelt)
    score = chooser.score(LOGITS, 2)
    assert score is not None
    assert (score.id, score.spelt) == (2, b"c")
    assert score.logprob == pytest.approx(math.log(0.1))
    assert [(id, text) for id, text, _ in score.top] == [(1, b"b"), (3, b"d")]
    assert score.top[0][2] == pytest.approx(math.log(0.5))


def test_no_scores_where_nobody_asks_and_no_alternatives_where_none_are_wanted() -> None:
    assert Chooser(Sampling(1), spelt).score(LOGITS, 2) is None
    alone = Chooser(Sampling(1, logprobs=0), spelt).score(LOGITS, 2)
    assert alone is not None
    assert alone.top == ()
