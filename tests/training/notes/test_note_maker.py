from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from tests.training.conftest import SENTENCES, SMALL
from tokenizers import Tokenizer

from memplus.data.corpus import Corpus
from memplus.data.names import OtherNames, held_out_words
from memplus.data.notes import Note, make_notes
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.note_maker import NoteMaker
from memplus.training.notes.recipe import Recipe, Stage

OTHERS = OtherNames(["Pampeluna", "Harkness", "Dunsany", *sorted(held_out_words())])
STAGE = replace(SMALL.stages[1], crowded=0.5, documents=8)


def recipe_with(share: float) -> Recipe:
    return replace(SMALL, optimizing=replace(SMALL.optimizing, other_names=share))


def crowd_notes(maker: NoteMaker, stage: Stage, seed: int) -> list[list[Note]]:
    """The notes of every crowded group."""
    found = maker.crowds(stage, Random(seed))
    assert len(found) == stage.documents // stage.group
    return [[note for own in crowd for note in own] for crowd in found if crowd is not None]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_crowds_of_a_step_are_of_one_attribute_and_nobody_is_in_two(share: float) -> None:
    maker, groups = NoteMaker(recipe_with(share), "train", OTHERS), 0
    for seed in range(20):
        crowds = crowd_notes(maker, STAGE, seed)
        notes = [note for crowd in crowds for note in crowd]
        groups += len(crowds)
        assert len({note.attribute for note in notes}) <= 1
        assert len({note.subject for note in notes}) == len(notes)
        assert all(len(crowd) >= 2 * STAGE.group for crowd in crowds)
    assert 20 < groups < 60


def test_without_crowds_nothing_is_drawn() -> None:
    random = Random(1)
    before = random.getstate()
    maker = NoteMaker(SMALL, "train", None)
    assert maker.crowds(SMALL.stages[1], random) == [None, None]
    assert random.getstate() == before


def test_other_names_are_those_of_the_source_and_have_no_held_out_word() -> None:
    maker, random = NoteMaker(recipe_with(1.0), "train", OTHERS), Random(2)
    stage = replace(STAGE, namesakes=0.3)
    notes = [note for _ in range(60) for note in maker.confusable(4, stage, random)]
    notes += [note for _ in range(30) for note in maker.correction(random)]
    notes += [
        note for seed in range(20) for crowd in crowd_notes(maker, STAGE, seed) for note in crowd
    ]
    notes += [maker.untold(notes[:5], told_of(notes), stage, random) for _ in range(60)]
    words = {word for note in notes for word in note.subject.replace("-", " ").split()}
    assert not words & held_out_words()
    assert "Pampeluna" in words
    own = {note.subject for seed in range(99) for note in make_notes(seed, 50, "train")}
    assert sum(note.subject in own for note in notes) == 0


def told_of(notes: list[Note]) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for note in notes:
        told.setdefault(note.subject, set()).add(note.attribute)
    return told


def test_what_is_asked_for_in_vain_was_never_told_and_is_often_of_a_told_attribute() -> None:
    maker, random = NoteMaker(recipe_with(0.5), "train", OTHERS), Random(3)
    notes = [note for _ in range(8) for note in maker.confusable(4, STAGE, random)]
    told = told_of(notes)
    asked = [maker.untold(notes, told, STAGE, random) for _ in range(200)]
    assert all(one.attribute not in told.get(one.subject, ()) for one in asked)
    known = {note.attribute for note in notes}
    strangers = [one for one in asked if one.subject not in told]
    assert sum(one.attribute in known for one in strangers) > len(strangers) / 2


def test_documents_of_a_crowd_hold_its_notes_side_by_side(tokenizer: Tokenizer) -> None:
    maker = EpisodeMaker(Corpus([SENTENCES * 20], tokenizer, 5000), tokenizer, SMALL)
    stage = replace(SMALL.stages[1], crowded=1.0, chunks=4, abstain=0.0)
    attributes = set()
    episode = maker.make(stage, Random(1), tail=False)
    for ids, prompt in zip(episode.ids, episode.prompt, strict=True):
        question = tokenizer.decode(ids[prompt].tolist())
        attributes |= {name for name in ATTRIBUTES if name in question}
    assert len(attributes) == 1
    text = tokenizer.decode(episode.chunks.flatten().tolist())
    assert text.count(attributes.pop()) > 2 * stage.documents


ATTRIBUTES = {note.attribute for seed in range(40) for note in make_notes(seed, 20, "train")}


def test_of_plain_groups_nothing_can_be_answered(tokenizer: Tokenizer) -> None:
    maker = EpisodeMaker(Corpus([SENTENCES * 20], tokenizer, 5000), tokenizer, SMALL)
    stage = replace(SMALL.stages[1], plain=1.0)
    episode = maker.make(stage, Random(1), tail=False)
    assert episode.abstains.all()
    text = tokenizer.decode(episode.chunks.flatten().tolist())
    assert not any(name in text for name in ATTRIBUTES)
