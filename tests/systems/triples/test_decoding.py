from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tests.backbone.test_lora import drawn
from tests.fakes import ADAPTERS, CONFIG, EOS, make_mplus, some_ids

from memplus.backbone.lora import Lora, under
from memplus.errors import EmptyTextError, PositionsError
from memplus.mplus.core import Core
from memplus.systems.triples.decoding import (
    END,
    LIMIT,
    Continuation,
    decode,
    greedy,
    never,
)

IDS = some_ids(1, 20, seed=2)[0].tolist()


@pytest.fixture(scope="module")
def core() -> Core:
    return make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core


@pytest.fixture(scope="module")
def lora(core: Core) -> Lora:
    return drawn(core.backbone)


@torch.no_grad()
def plainly(core: Core, lora: Lora | None, ids: Sequence[int]) -> torch.Tensor:
    """[T, V] log-probabilities after each token, in one pass without a cache."""
    with under(core.backbone, lora):
        found = core.backbone.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return found.log_softmax(dim=-1)


def test_greedy_decoding_is_that_of_whole_passes(core: Core, lora: Lora) -> None:
    for adapter in (lora, None):
        text = Continuation(core, adapter, IDS)
        found = decode(text, limit=12)
        ids = list(IDS)
        for token, chance in zip(found.ids, found.log_probs, strict=True):
            scores = plainly(core, adapter, ids)[-1]
            assert token == int(scores.argmax())
            assert chance == pytest.approx(float(scores.max()), abs=1e-4)
            ids.append(token)
        assert text.ids == ids
        assert (found.stop, found.text) == (LIMIT, core.decode(found.ids))


def test_tokens_spliced_in_are_tokens_typed_in_the_prompt(core: Core, lora: Lora) -> None:
    text = Continuation(core, lora, IDS)
    said = decode(text, limit=5).ids
    text.extend([7, 8, 9])
    spliced = decode(text, limit=8)
    typed = decode(Continuation(core, lora, [*IDS, *said, 7, 8, 9]), limit=8)
    assert spliced.ids == typed.ids
    assert spliced.log_probs == pytest.approx(typed.log_probs, abs=1e-4)


def test_a_text_taken_back_is_as_if_it_had_never_been(core: Core, lora: Lora) -> None:
    text = Continuation(core, lora, IDS)
    before = decode(text, limit=6)
    text.rewind(len(IDS))
    assert text.ids == IDS
    assert decode(text, limit=6).ids == before.ids
    text.rewind(10)
    assert torch.allclose(text.scores(), plainly(core, lora, IDS[:10])[-1], atol=1e-4)
    text.rewind(0)
    assert len(text) == 0


def test_asking_for_scores_twice_reads_nothing_twice_wrong(core: Core, lora: Lora) -> None:
    text = Continuation(core, lora, IDS)
    first = text.scores()
    assert torch.allclose(text.scores(), first, atol=1e-5)


def test_the_likelihood_of_a_continuation_leaves_the_text_alone(core: Core, lora: Lora) -> None:
    text = Continuation(core, lora, IDS[:12])
    expected = plainly(core, lora, IDS)[11:-1].gather(1, torch.tensor(IDS[12:])[:, None])
    for _ in range(2):
        found = text.likelihood(IDS[12:])
        assert found == (pytest.approx(float(expected.sum()), abs=1e-4), 8)
        assert not found.greedy
        assert text.ids == IDS[:12]
    assert text.likelihood(decode(Continuation(core, lora, IDS[:12]), limit=3).ids).greedy
    alone = Continuation(core, lora)
    given = plainly(core, lora, [1, 2, 3])[:-1].gather(1, torch.tensor([[2], [3]]))
    assert alone.likelihood([1, 2, 3]) == (pytest.approx(float(given.sum()), abs=1e-4), 2)
    assert alone.ids == []
    for empty in ([], [4]):
        with pytest.raises(EmptyTextError):
            alone.likelihood(empty)


def test_decoding_stops_where_a_text_has_been_said(core: Core, lora: Lora) -> None:
    said = decode(Continuation(core, lora, IDS), limit=10)
    # One token a byte: any two bytes that were said are a text to stop at.
    stop = core.decode(said.ids[3:5])
    place = said.text.find(stop) + len(stop)
    text = Continuation(core, lora, IDS)
    found = decode(text, limit=10, stops=("never said", stop))
    assert found.stop == stop
    assert found.text == said.text[:place]
    assert text.ids == [*IDS, *found.ids]


def test_a_token_that_says_more_than_the_stop_is_cut_behind_it(
    core: Core, lora: Lora, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = decode(Continuation(core, lora, IDS), limit=3)
    byte = said.ids[2]
    plain = core.decode

    def merged(ids: Sequence[int]) -> str:
        return "".join("a}: x" if token == byte else "?" for token in ids)

    monkeypatch.setattr(core, "decode", merged)
    text = Continuation(core, lora, IDS)
    found = decode(text, limit=10, stops=("}:",))
    monkeypatch.setattr(core, "decode", plain)
    assert (found.stop, found.cut) == ("}:", " x")
    where = said.ids.index(byte)
    assert text.ids == [*IDS, *said.ids[:where], *core.encode("a}:")]


def test_an_end_token_ends_and_is_not_said(core: Core, lora: Lora) -> None:
    best = decode(Continuation(core, lora, IDS), limit=4).ids
    found = decode(Continuation(core, lora, IDS), limit=10, ends={best[2]})
    place = best.index(best[2])
    assert (found.ids, found.stop) == (best[:place], END)
    ended = decode(Continuation(core, lora, IDS), limit=10, choose=lambda scores: None)
    assert (ended.ids, ended.text, ended.stop) == ((), "", END)
    assert EOS not in found.ids


def test_a_token_can_be_barred(core: Core, lora: Lora) -> None:
    best = decode(Continuation(core, lora, IDS), limit=1).ids[0]
    second = int(plainly(core, lora, IDS)[-1].index_fill(0, torch.tensor(best), -1e9).argmax())
    barred = decode(Continuation(core, lora, IDS), limit=6, choose=never([best]))
    assert barred.ids[0] == second
    assert best not in barred.ids


def test_the_model_is_as_it_was_afterwards(core: Core, lora: Lora) -> None:
    before = plainly(core, lora, IDS)
    state = core.backbone.adapters.state()
    decode(Continuation(core, lora, IDS), limit=3)
    with pytest.raises(PositionsError):
        decode(Continuation(core, lora, IDS * 20), limit=3)
    with pytest.raises(EmptyTextError):
        decode(Continuation(core, lora), limit=3)
    assert plainly(core, lora, IDS).equal(before)
    assert core.backbone.adapters.state() == state
    assert greedy(torch.tensor([0.0, 2.0, 1.0])) == 1


def test_a_decoder_with_a_sliding_window_is_read_again_after_a_step_back() -> None:
    core = make_mplus("mistral-window", changes={"sliding_window": 6}).core
    text = Continuation(core, None, IDS)
    decode(text, limit=4)
    text.rewind(12)
    assert torch.allclose(text.scores(), plainly(core, None, IDS[:12])[-1], atol=1e-4)
