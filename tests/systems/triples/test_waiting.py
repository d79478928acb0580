from __future__ import annotations

from random import Random

from tests.systems.conftest import SHARED

from memplus.systems.triples.waiting import Waiting

TEXT = "The gate is red.  Nobody came, and it rained. Mr. Kent slept"


def words(piece: str) -> list[int]:
    """Ends of tokens: every third character, and the last."""
    return [*range(3, len(piece), 3), len(piece)]


def test_sentences_are_taken_once_they_have_ended_with_the_places_of_their_tokens() -> None:
    waiting = Waiting("a")
    waiting.add(TEXT, words(TEXT))
    taken = list(waiting.take())
    assert [one for one, _ in taken] == ["The gate is red.", "Nobody came, and it rained."]
    for sentence, (first, stop) in taken:
        covered = TEXT[3 * first : 3 * stop]
        assert sentence in covered
        assert len(covered) <= len(sentence) + 4
    assert waiting.text.strip() == "Mr. Kent slept"
    assert waiting.next == len(words(TEXT))
    assert list(waiting.take()) == []
    ((last, place),) = waiting.take(all_of_it=True)
    assert last == "Mr. Kent slept"
    assert place[1] == len(words(TEXT))
    assert (waiting.text, waiting.ends, waiting.nbytes) == ("", [], 0)
    assert waiting.first == len(words(TEXT))


def test_pieces_of_any_size_give_the_same_sentences() -> None:
    for seed in range(20):
        random, waiting, found, place = Random(seed), Waiting(), [], 0
        while place < len(TEXT):
            size = random.randint(1, 9)
            piece = TEXT[place : place + size]
            waiting.add(piece, [len(piece)])
            found += waiting.take()
            place += size
        found += waiting.take(all_of_it=True)
        assert [one for one, _ in found] == [
            "The gate is red.", "Nobody came, and it rained.", "Mr. Kent slept"
        ]  # fmt: skip
        stops = [place for _, place in found]
        assert all(first < stop for first, stop in stops)


def test_a_sentence_ends_behind_all_tokens_of_its_last_character() -> None:
    text, waiting = "Red… Blue… Grey", Waiting("a")
    waiting.add(text, SHARED.reference([text])[0])
    red, blue = len("Red…".encode()), len("Red… Blue…".encode())
    assert [*waiting.take()] == [("Red…", (0, red)), ("Blue…", (red + 1, blue))]
    assert [*waiting.take(all_of_it=True)] == [("Grey", (blue + 1, len(text.encode())))]


def test_a_token_that_goes_on_behind_a_sentence_belongs_to_it_too() -> None:
    waiting = Waiting("a")
    waiting.add("Red. Blue. ", [3, 5, 11])
    assert [*waiting.take()] == [("Red.", (0, 2))]
    assert [*waiting.take(all_of_it=True)] == [("Blue.", (2, 3))]


def test_a_copy_goes_its_own_way() -> None:
    waiting = Waiting("a", first=4)
    waiting.add("One", [3])
    other = waiting.copy()
    other.add(" two", [4])
    assert (waiting.text, other.text, other.first, other.source) == ("One", "One two", 4, "a")
