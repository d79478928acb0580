"""Going on with texts token by token is reading them again and again."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import distance, some_ids
from tests.systems.hmt.tiny import FAMILIES, make_hmt, reference_of, written
from torch import Tensor

from memplus.systems.hmt.mechanism import HMTMechanism

IDS = some_ids(1, 18, seed=5)
PROMPTS, PAD = some_ids(3, 5, seed=6), torch.tensor([2, 0, 4])
NEXT = some_ids(3, 9, seed=7)


@pytest.fixture(params=FAMILIES)
def hmt(request: pytest.FixtureRequest) -> HMTMechanism:
    return make_hmt(request.param)


@torch.no_grad()
def test_each_step_is_what_reading_the_longer_text_gives(hmt: HMTMechanism) -> None:
    # The summary is of three tokens, so the longer text is read behind the same vector.
    state = written(hmt, IDS).repeated(3)
    going = hmt.begin(state, PROMPTS)
    for count in range(9):
        text = torch.cat([PROMPTS, NEXT[:, :count]], dim=1)
        assert distance(going.hidden, hmt.read(state, text)[:, -1]) < 1e-5
        going.step(NEXT[:, count])


@torch.no_grad()
def test_padded_rows_go_on_as_each_alone(hmt: HMTMechanism) -> None:
    state = written(hmt, IDS)
    read = hmt.read(state.repeated(3), PROMPTS, PAD)
    together = hmt.begin(state.repeated(3), PROMPTS, PAD)
    alone = [hmt.begin(state, PROMPTS[row : row + 1, pad:]) for row, pad in enumerate(PAD)]
    for count in range(4):
        expected = torch.cat([one.hidden for one in alone])
        assert distance(together.hidden, expected) < 1e-5
        if not count:
            assert distance(read[:, -1], expected) < 1e-5
        together.step(NEXT[:, count])
        for row, one in enumerate(alone):
            one.step(NEXT[row : row + 1, count])
    assert [[share.share for share in row] for row in together.shares] == [
        pytest.approx([share.share for share in one.shares[0]], abs=1e-5) for one in alone
    ]


@torch.no_grad()
def test_greedy_tokens_are_the_references(hmt: HMTMechanism) -> None:
    slow = reference_of(hmt)
    for piece in IDS.split(6, dim=1):
        slow.write(piece[0].tolist())
    going, said = hmt.begin(written(hmt, IDS), PROMPTS[:1]), list[int]()
    head = hmt.backbone.model.get_output_embeddings()
    for _ in range(8):
        token: Tensor = head(going.hidden).argmax(dim=-1)
        said.append(int(token))
        going.step(token)
    assert said == slow.generated(PROMPTS[0].tolist(), 8)


@torch.no_grad()
def test_shares_are_the_weights_of_the_segments_that_are_kept(hmt: HMTMechanism) -> None:
    state = written(hmt, torch.cat([IDS, IDS], dim=1))
    assert state.bounds == (18, 24, 30, 36)
    slow = reference_of(hmt)
    slow.cache = list(state.cache[0])
    weights = slow.weighed(slow.summary(PROMPTS[0].tolist()))
    (row,) = hmt.begin(state, PROMPTS[:1]).shares
    assert [share.share for share in row] == sorted((share.share for share in row), reverse=True)
    assert sum(share.share for share in row) == pytest.approx(1, abs=1e-5)
    found = {(share.start, share.end): share.share for share in row}
    for index, start in enumerate((18, 24, 30)):
        assert found[start, start + 6] == pytest.approx(float(weights[index]), abs=1e-5)


@torch.no_grad()
def test_without_retrieval_there_is_no_account() -> None:
    hmt = make_hmt(retrieval="off")
    assert hmt.begin(written(hmt, IDS), PROMPTS[:1]).shares is None


def test_nothing_is_kept_for_gradients() -> None:
    hmt = make_hmt(rank=2)
    going = hmt.begin(hmt.empty(3), PROMPTS)
    going.step(NEXT[:, 0])
    assert not going.hidden.requires_grad
