from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from tests.training.conftest import SENTENCES, SMALL
from tokenizers import Tokenizer

from memplus.data.corpus import Corpus
from memplus.data.notes import ABSTENTION
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.jobs import IGNORED, Episode
from memplus.training.notes.recipe import Stage


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


def text_of(tokenizer: Tokenizer, episode: Episode, question: int) -> tuple[str, str, str]:
    """Everything its group wrote before and after it, its prompt, its answer."""
    labels = episode.labels[question]
    return (
        tokenizer.decode(episode.chunks.flatten().tolist()),
        tokenizer.decode(episode.ids[question][episode.prompt[question]].tolist()),
        tokenizer.decode(labels[labels != IGNORED].tolist()).strip(),
    )


def test_of_a_corrected_note_the_later_value_is_asked(
    maker: EpisodeMaker, tokenizer: Tokenizer
) -> None:
    stage = replace(SMALL.stages[1], notes=(0,), corrected=1.0, chunks=3)
    both = 0
    for seed in range(6):
        episode = maker.make(stage, Random(seed), tail=False)
        for index in range(len(episode.ids)):
            text, prompt, answer = text_of(tokenizer, episode, index)
            stated = tokenizer.decode(episode.chunks.flatten()[episode.told[index]].tolist())
            if not episode.told[index].any() or stated.count(" is") < 2:
                continue
            both += 1
            assert stated.endswith(f" {answer}.")
            assert f" {answer}." in text
            assert "Question" in prompt
    assert both > 5


def test_notes_of_a_paragraph_stand_side_by_side(maker: EpisodeMaker, tokenizer: Tokenizer) -> None:
    stage = replace(SMALL.stages[1], notes=(1,), chunks=4, group=1, paragraphs=1.0)
    alone = replace(stage, paragraphs=0.0)

    def apart(chosen: Stage) -> int:
        """Sentences of the book between the first and the last note, over some documents."""
        count = 0
        for seed in range(8):
            for document in maker.make(chosen, Random(seed), tail=False).chunks:
                parts = re.split(r"\bis [^.]*\.", tokenizer.decode(document.flatten().tolist()))
                count += sum("lantern" in p or "keeper" in p for p in parts[1:-1])
        return count

    assert apart(stage) < apart(alone) / 2


def unanswered(
    tokenizer: Tokenizer, known_subject: float, namesakes: float
) -> Iterator[tuple[str, list[str]]]:
    """The told text and the asked name of an episode that can answer nothing."""
    optimizing = replace(SMALL.optimizing, known_subject=known_subject)
    recipe = replace(SMALL, optimizing=optimizing)
    maker = EpisodeMaker(Corpus([SENTENCES * 20], tokenizer, 5000), tokenizer, recipe)
    stage = replace(SMALL.stages[0], abstain=1.0, namesakes=namesakes)
    episode = maker.make(stage, Random(1), tail=False)
    assert episode.abstains.all()
    for index in range(len(episode.ids)):
        text, prompt, answer = text_of(tokenizer, episode, index)
        assert answer == ABSTENTION
        names = re.findall(r"[A-Z][a-z]+ [A-Z][a-z]+", prompt.split("Question:")[1])
        yield text, names


def test_some_unanswerable_questions_are_about_a_subject_of_the_step(
    tokenizer: Tokenizer,
) -> None:
    asked = list(unanswered(tokenizer, 1.0, 0.0))
    assert sum(any(name in text for name in names) for text, names in asked) > len(asked) / 2


def test_some_are_about_a_near_namesake_of_a_subject_of_the_step(tokenizer: Tokenizer) -> None:
    def parts_known(namesakes: float) -> float:
        """Share of questions that name nobody told, but one of whose two names was told."""
        asked = list(unanswered(tokenizer, 0.0, namesakes))
        assert not any(name in text for text, names in asked for name in names)
        near = [any(p in text for name in names for p in name.split()) for text, names in asked]
        return sum(near) / len(near)

    assert parts_known(1.0) > 0.7 > parts_known(0.0)
