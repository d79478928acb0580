import pytest
from tests.evaluation.conftest import BOOKS, words

from memplus.data.notes import make_notes
from memplus.data.stream import RunningText, Stream, Texts, sentences_of
from memplus.errors import ConfigError, EmptyTextError

TEXTS = Texts.of(BOOKS, words)


def test_sentences_put_together_are_the_text() -> None:
    text = 'One. "Two!" said he.\n\nstep = 3\n\nnothing at the end'
    assert "".join(sentences_of(text)) == text
    assert next(sentences_of(text)) == "One."
    assert len(list(sentences_of(text))) == 5


def test_texts_without_a_token_are_refused() -> None:
    with pytest.raises(EmptyTextError):
        Texts.of(["", " "], words)


def test_the_digest_tells_texts_and_their_borders_apart() -> None:
    digests = {Texts.of(given, words).sha256 for given in (["a. b."], ["a.", " b."], ["a. c."])}
    assert len(digests) == 3


def test_running_text_gives_every_sentence_and_then_begins_again() -> None:
    text = RunningText(TEXTS, seed=1)
    count = sum(len(sentences) for sentences in TEXTS.sentences)
    first = [text.take() for _ in range(count)]
    assert text.given == TEXTS.tokens
    assert sorted(first) == sorted(ids for one in TEXTS.sentences for ids in one)
    assert [text.take() for _ in range(count)] == first
    assert text.given == 2 * TEXTS.tokens


def test_the_order_follows_from_the_seed() -> None:
    def beginning(seed: int) -> list[list[int]]:
        text = RunningText(TEXTS, seed)
        return [text.take() for _ in range(40)]

    assert beginning(1) == beginning(1)
    assert beginning(1) != beginning(2)


def test_a_note_stands_where_it_is_said_to_stand() -> None:
    stream = Stream(TEXTS, 0, "text")
    notes = make_notes(0, 3, "held_out")
    stream.read(2)
    told = [*stream.tell(notes[0]), *stream.tell(*notes[1:])]
    for note, place in zip(notes, told, strict=True):
        assert stream.ids[place.start : place.end] == words([note.statement])[0]
        assert place.source == "text"
    assert told[1].end == told[2].start


@pytest.mark.parametrize("border", [5, 16, 40])
def test_a_note_is_told_across_a_border(border: int) -> None:
    stream = Stream(TEXTS, 3, "text")
    for note in make_notes(1, 5, "held_out"):
        told = stream.tell_across(border, note)
        assert told.start // border < (told.end - 2) // border
        assert (told.start + 1) // border < (told.end - 1) // border
        assert stream.ids[told.start : told.end] == words([note.statement])[0]


def test_a_text_without_a_place_before_a_border_is_an_error() -> None:
    texts = Texts.of(["word " * 400], words)
    with pytest.raises(ConfigError, match="multiple of 400"):
        Stream(texts, 0, "text").tell_across(400, make_notes(1, 1, "held_out")[0])
