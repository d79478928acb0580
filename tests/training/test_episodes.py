from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from tests.training.conftest import SENTENCES, SMALL
from tokenizers import Tokenizer

from memplus.notes import ABSTENTION
from memplus.training.corpus import Corpus
from memplus.training.episodes import IGNORED, EpisodeMaker


@pytest.mark.parametrize("stage", SMALL.stages, ids=lambda stage: stage.name)
@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_rows_marked_as_told_state_the_answer(
    maker: EpisodeMaker, tokenizer: Tokenizer, stage: object, tail: bool, seed: int
) -> None:
    chosen = next(one for one in SMALL.stages if one is stage)
    episode = maker.make(chosen, Random(seed), tail=tail)
    rows = episode.chunks.flatten()
    for labels, told, abstains in zip(
        episode.labels, episode.told, episode.abstains.tolist(), strict=True
    ):
        answer = tokenizer.decode(labels[labels != IGNORED].tolist())
        assert abstains == (answer == f" {ABSTENTION}\n")
        assert not (abstains and told.any())
        stated = tokenizer.decode(rows[told].tolist())
        if told.any() and not tail:
            assert stated == f" is{answer.rstrip()}."


def test_the_prompt_is_marked_and_the_answer_follows_it(
    maker: EpisodeMaker, tokenizer: Tokenizer
) -> None:
    episode = maker.make(SMALL.stages[0], Random(1), tail=True)
    for ids, prompt, labels in zip(episode.ids, episode.prompt, episode.labels, strict=True):
        text = tokenizer.decode(ids[prompt].tolist())
        assert text.startswith("\nQuestion: ")
        assert text.endswith("\nAnswer:")
        first = int((labels != IGNORED).nonzero()[0])
        assert prompt[first]
        assert not prompt[first + 1 :].any()
        answer = labels[labels != IGNORED]
        assert ids[first + 1 : first + len(answer)].tolist() == answer[:-1].tolist()


def test_unwritten_text_goes_on_where_the_chunks_end(maker: EpisodeMaker) -> None:
    episode = maker.make(SMALL.stages[0], Random(2), tail=True)
    assert (episode.tail_labels != IGNORED).any()
    assert not maker.make(SMALL.stages[0], Random(2), tail=False).tail_labels.ne(IGNORED).any()


def test_far_questions_are_about_other_groups(maker: EpisodeMaker) -> None:
    stage = replace(SMALL.stages[1], far=1.0)
    episode = maker.make(stage, Random(3), tail=False)
    rows = stage.group * stage.chunks * SMALL.memory.tokens_per_write
    assert episode.far.any()
    for index in episode.far.nonzero()[:, 0].tolist():
        own = index // stage.questions
        assert not episode.told[index, own * rows : (own + 1) * rows].any()
        assert episode.told[index].any()


def test_compressed_chunks_mark_every_row_where_the_statement_has_none(
    tokenizer: Tokenizer,
) -> None:
    recipe = replace(SMALL, memory=replace(SMALL.memory, tokens_per_write=16))
    maker = EpisodeMaker(Corpus([SENTENCES * 20], tokenizer, 5000), tokenizer, recipe)
    counts = set()
    for seed in range(6):
        episode = maker.make(SMALL.stages[0], Random(seed), tail=False)
        counts |= set(episode.told.sum(dim=1)[~episode.abstains].tolist())
    assert 16 in counts
    assert min(counts) < 16


def test_the_same_seed_makes_the_same_episode(maker: EpisodeMaker) -> None:
    one, two = (maker.make(SMALL.stages[1], Random("5"), tail=True) for _ in range(2))
    assert one.ids.equal(two.ids)
    assert one.chunks.equal(two.chunks)
    assert not maker.make(SMALL.stages[1], Random("6"), tail=True).chunks.equal(one.chunks)
