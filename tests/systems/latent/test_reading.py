"""Answers and likelihoods behind a state, against reading one text at a time without a cache.

Shapes: d hidden size.
"""

from itertools import pairwise

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.systems.latent.toy import ToyDecoding, ToyMechanism, ToyState
from torch import Tensor

from memplus.mplus.core import Core
from memplus.systems.latent.mechanism import Share
from memplus.systems.latent.prompts import Prompt
from memplus.systems.latent.reading import Choice, Ends, Reading, Said

SEGMENT, LONGEST = 8, 24


def plain(text: list[int]) -> Prompt:
    return Prompt(tuple(text), (0, len(text)))


def never(ids: object) -> bool:
    return False


@pytest.fixture(scope="module", params=["llama", "qwen3", "gpt_neox"])
def core(request: pytest.FixtureRequest) -> Core:
    return make_mplus(request.param).core


@pytest.fixture
def mechanism(core: Core) -> ToyMechanism:
    return toy(core, LONGEST)


def toy(core: Core, longest: int) -> ToyMechanism:
    made = ToyMechanism(core.backbone, SEGMENT, longest, 0.5)
    generator = torch.Generator().manual_seed(4)
    made.into.data = torch.randn(made.into.shape, generator=generator) * 0.3
    return made.requires_grad_(requires_grad=False)


def ids(length: int, seed: int) -> list[int]:
    return some_ids(length, seed=seed).tolist()


def written(mechanism: ToyMechanism, *segments: list[int]) -> ToyState:
    state = mechanism.empty(1)
    for segment in segments:
        state = mechanism.write(state, torch.tensor([segment]))
    return state


def slow_answer(
    core: Core, mechanism: ToyMechanism, state: ToyState, text: list[int], tokens: int
) -> list[int]:
    """Greedy, every token by reading all of the text anew; nothing is ever taken in."""
    said: list[int] = []
    for _ in range(tokens):
        hidden = mechanism.read(state, torch.tensor([[*text, *said]]))
        said.append(int(core.logits(hidden[0, -1]).argmax()))
    return said


def test_texts_answered_together_are_answered_as_each_alone(
    core: Core, mechanism: ToyMechanism
) -> None:
    state = written(mechanism, ids(8, 1), ids(8, 2))
    texts = [ids(length, 10 + length) for length in (3, 17, 1, 9)]
    ends = Ends(5, (), never)
    together = Reading(core, mechanism, state).answer([plain(one) for one in texts], ends)
    for text, found in zip(texts, together, strict=True):
        (alone,) = Reading(core, mechanism, state).answer([plain(text)], ends)
        assert found.ids == alone.ids == slow_answer(core, mechanism, state, text, 5)
        assert found.shares == alone.shares
        assert {*found.shares} == {Share(0, 8, 0.5), Share(8, 16, 0.5)}


def test_an_answer_ends_before_an_end_token_behind_a_stop_or_at_the_limit(
    core: Core, mechanism: ToyMechanism
) -> None:
    state, text = written(mechanism, ids(8, 1)), ids(5, 6)
    whole = slow_answer(core, mechanism, state, text, 6)
    reading = Reading(core, mechanism, state)

    def said(ends: Ends) -> list[int]:
        return reading.answer([plain(text), plain(ids(9, 4))], ends)[0].ids

    cut = next(at for at in range(1, 6) if whole[at] not in whole[:at])
    assert said(Ends(6, (), never)) == whole
    assert said(Ends(6, {whole[cut]}, never)) == whole[:cut]
    assert said(Ends(6, (), lambda ids: ids[-1] == whole[cut])) == whole[: cut + 1]
    assert said(Ends(2, (), never)) == whole[:2]


def test_what_is_too_long_is_taken_into_a_copy_of_the_state_in_whole_segments(
    core: Core, mechanism: ToyMechanism
) -> None:
    state, text = written(mechanism, ids(8, 1)), ids(39, 5)
    before = {name: one.clone() for name, one in state.tensors.items()}
    (found, short) = Reading(core, mechanism, state).answer(
        [plain(text), plain(text[:3])], Ends(4, (), never)
    )
    # 39 tokens and 4 to come: three segments have to go before 24 can be read.
    copy = written(mechanism, ids(8, 1), text[:8], text[8:16], text[16:24])
    assert found.ids == slow_answer(core, mechanism, copy, text[24:], 4)
    assert short.ids == slow_answer(core, mechanism, state, text[:3], 4)
    assert {one.end for one in found.shares} == {8, 16, 24, 32}
    assert all(torch.equal(before[name], one) for name, one in state.tensors.items())


def test_an_answer_that_passes_the_longest_goes_on_from_a_copy_of_the_state(
    core: Core, mechanism: ToyMechanism
) -> None:
    state, text = written(mechanism, ids(8, 1)), ids(6, 6)
    texts = [plain(text), plain(ids(3, 7))]
    found, _ = Reading(core, mechanism, state).answer(texts, Ends(40, (), never))
    assert len(found.ids) == 40
    # The 18 tokens that fit, and the one that they predict, ...
    first = slow_answer(core, mechanism, state, text, 19)
    assert found.ids[:19] == first
    # ... then half of the 25, in whole segments, goes into a copy, again and again.
    whole = [*text, *found.ids]
    copy = written(mechanism, ids(8, 1), whole[:8])
    second = slow_answer(core, mechanism, copy, whole[8:25], 8)
    assert found.ids[19:27] == second


def test_every_row_of_a_batch_goes_its_own_way_past_the_longest(
    core: Core, mechanism: ToyMechanism
) -> None:
    state, texts = written(mechanism, ids(8, 1)), [ids(20, 8), ids(2, 9), ids(45, 10)]
    ends = Ends(30, (), never)
    together = Reading(core, mechanism, state).answer([plain(one) for one in texts], ends)
    for text, found in zip(texts, together, strict=True):
        (alone,) = Reading(core, mechanism, state).answer([plain(text)], ends)
        assert found.ids == alone.ids
        assert found.shares == pytest.approx(alone.shares) or _same(found, alone)


def _same(one: Said, other: Said) -> bool:
    """Whether the same parts have the same shares, to rounding."""
    found, wanted = ({(s.start, s.end): s.share for s in said.shares} for said in (one, other))
    return found == pytest.approx(wanted, abs=0.2) and sum(found.values()) == pytest.approx(1)


@torch.no_grad()
def likelihood(core: Core, hidden: Tensor, told: list[int]) -> float:
    found = core.logits(hidden).float().log_softmax(dim=-1)
    return float(found.gather(1, torch.tensor(told)[:, None]).sum())


def test_likelihoods_are_those_of_reading_each_text_by_itself(
    core: Core, mechanism: ToyMechanism
) -> None:
    state = written(mechanism, ids(8, 1))
    start = ids(7, 11)
    texts = [([*start, *ids(n, 20 + n)], n) for n in (1, 3, 9)]
    texts += [([*start, 5], 1), (ids(4, 12), 3)]
    given = [Choice(plain(text[:-count]), [text[-count:]]) for text, count in texts]
    found = Reading(core, mechanism, state).likelihoods(given)
    for (text, count), (one,) in zip(texts, found, strict=True):
        hidden = mechanism.read(state, torch.tensor([text[:-1]])).detach()[0, -count:]
        assert one == (pytest.approx(likelihood(core, hidden, text[-count:]), abs=1e-4), count)
        best = core.logits(hidden).argmax(dim=-1).tolist()
        assert one.greedy == (best == text[-count:])


@pytest.mark.parametrize("count", [2, 12, 20, 59])
def test_a_text_that_is_too_long_to_be_read_at_once_is_scored_segment_by_segment(
    core: Core, mechanism: ToyMechanism, count: int
) -> None:
    state, text = written(mechanism, ids(8, 1)), ids(60, 13)
    given = [Choice(plain(text[: -count - 1]), [text[-count - 1 :], text[:3]], given=1)]
    ((found, _),) = Reading(core, mechanism, state).likelihoods(given)
    parts, copy = [], state
    # What is behind the last whole segments fits: 59 tokens are read, 24 at once.
    edges = [0, 8, 16, 24, 32, 40, 59]
    for start, end in pairwise(edges):
        parts.append(mechanism.read(copy, torch.tensor([text[start:end]]))[0])
        if end < 59:
            copy = mechanism.write(copy, torch.tensor([text[start:end]]))
    expected = likelihood(core, torch.cat(parts)[-count:], text[-count:])
    assert found == (pytest.approx(expected, abs=1e-3), count)


def test_options_of_one_prompt_are_read_behind_the_same_part_of_it(
    core: Core, mechanism: ToyMechanism
) -> None:
    state, text = written(mechanism, ids(8, 1)), ids(23, 14)
    long, short = ids(9, 15), ids(2, 16)
    ((_, found),) = Reading(core, mechanism, state).likelihoods(
        [Choice(plain(text), [long, short])]
    )
    # 23 tokens and 8 of the longer one are more than 24, so a segment goes, for the short one too.
    copy = written(mechanism, ids(8, 1), text[:8])
    hidden = mechanism.read(copy, torch.tensor([[*text[8:], short[0]]])).detach()[0, -2:]
    assert found == (pytest.approx(likelihood(core, hidden, short), abs=1e-4), 2)


def test_behind_nothing_the_first_token_is_given(core: Core, mechanism: ToyMechanism) -> None:
    reading, told = Reading(core, mechanism, mechanism.empty(1)), ids(4, 17)
    ((found, one),) = reading.likelihoods([Choice(plain([]), [told, told[:2]], given=1)])
    hidden = mechanism.read(mechanism.empty(1), torch.tensor([told[:3]])).detach()[0]
    assert found == (pytest.approx(likelihood(core, hidden, told[1:]), abs=1e-4), 3)
    assert one[1] == 1


class Asked(ToyMechanism):
    """Keeps what it is told the texts are about."""

    def __init__(self, core: Core) -> None:
        super().__init__(core.backbone, SEGMENT, LONGEST, 0.5)
        self.heard: list[list[int]] = []

    def read_about(
        self, state: ToyState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> Tensor:
        self._hear(ids, about)
        return self.read(state, ids, pad)

    def begin_about(
        self, state: ToyState, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> ToyDecoding:
        self._hear(ids, about)
        return self.begin(state, ids, pad)

    def _hear(self, ids: Tensor, about: Tensor) -> None:
        for row, (start, end) in zip(ids.tolist(), about.tolist(), strict=True):
            self.heard.append(row[start:end])


def test_the_mechanism_is_told_where_each_question_stands(core: Core) -> None:
    mechanism, text = Asked(core), ids(60, 13)
    reading = Reading(core, mechanism, mechanism.empty(1))
    prompts = [Prompt(tuple(text[:n]), (n - 5, n - 2)) for n in (9, 14, 60)]
    reading.answer(prompts, Ends(2, (), never))
    questions = [text[n - 5 : n - 2] for n in (9, 14, 60)]
    assert mechanism.heard == questions
    reading.likelihoods([Choice(one, [[1, 2]]) for one in prompts])
    assert sorted(mechanism.heard[3:]) == sorted(questions)


def test_a_question_that_was_taken_in_leaves_the_text_before_to_count(core: Core) -> None:
    mechanism, text = Asked(core), ids(39, 13)
    reading = Reading(core, mechanism, mechanism.empty(1))
    prompts = [Prompt(tuple(text), place) for place in ((20, 30), (3, 6))]
    reading.answer(prompts, Ends(4, (), never))
    assert mechanism.heard == [text[24:30], []]
