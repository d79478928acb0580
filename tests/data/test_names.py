from __future__ import annotations

import re
from random import Random

from memplus.data.names import OtherNames, _Language, held_out_words, name_words
from memplus.data.outside import BOOK_NAMES, BUNDLED_NAMES, read_names

WORDS = ["Pampeluna", "Harkness", "Dunsany", "Westgate"]


def words_of(names: list[str]) -> set[str]:
    return {word for name in names for word in re.split(r"[\s-]+", name)}


def test_words_of_every_name_that_is_measured_are_held_out_and_titles_are_not() -> None:
    assert {"Quillfeather", "Wiśniewski", "Rashid", "Ackroyd", "Charnetski"} <= held_out_words()
    assert not held_out_words() & {"Miss", "Sir", "Captain", "Lady", "Mrs."}
    for path in (BUNDLED_NAMES, BOOK_NAMES):
        assert all(set(name.split()) & held_out_words() for name in read_names(path))


def test_capitalised_words_inside_sentences_are_names_if_they_are_there_often() -> None:
    often = "Then came old Pampeluna Harkness, and Dunsany with him, on Sunday in May. " * 3
    once = "He saw Westgate. "
    assert name_words([often + once]) == ["Dunsany", "Harkness", "Pampeluna"]


def test_words_of_held_out_names_are_not_taken_from_books() -> None:
    text = "It was the old Ackroyd, and young Quillfeather, with Harkness beside them. " * 9
    assert name_words([text]) == ["Harkness"]


def test_no_name_that_is_drawn_has_a_held_out_word() -> None:
    barred = sorted(held_out_words())
    names = OtherNames([*WORDS, *barred])
    random = Random(0)
    drawn = [name for _ in range(200) for name in names.draw(random, 20)]
    drawn += [name for _ in range(20) for name in names.draw(random, 20, 3)]
    drawn += [names.near(name, random) for name in drawn]
    assert not words_of(drawn) & held_out_words()


def test_names_follow_from_what_is_random_and_differ() -> None:
    names = OtherNames(WORDS)
    one, two = (names.draw(Random(5), 40) for _ in range(2))
    assert one == two != names.draw(Random(6), 40)
    assert len(set(one)) == 40


def test_first_words_are_shared_where_that_is_asked() -> None:
    drawn = OtherNames(WORDS).draw(Random(1), 30, 3)
    assert len({name.split()[0] for name in drawn}) <= 3
    assert len(set(drawn)) == 30


def test_names_have_many_sounds_and_forms() -> None:
    names = OtherNames([])
    random = Random(2)
    drawn = [name for _ in range(300) for name in names.draw(random, 4)]
    assert {len(name.split()) for name in drawn} >= {1, 2, 3}
    assert any(not name.isascii() for name in drawn)
    assert sum(name.isascii() for name in drawn) > len(drawn) / 3
    assert len({name[:3] for name in drawn}) > 300


def test_first_and_last_names_are_drawn_alone() -> None:
    names = OtherNames((), barred=())
    firsts = {names.first(Random(seed)) for seed in range(200)}
    lasts = {names.last(Random(seed)) for seed in range(200)}
    assert min(len(firsts), len(lasts)) > 180
    assert all(2 < len(one) <= 14 for one in firsts | lasts)


def test_a_near_name_keeps_some_of_the_name() -> None:
    names, random = OtherNames(WORDS), Random(3)
    for name in names.draw(random, 50):
        near = names.near(name, random)
        assert near != name
        if len(name.split()) > 1:
            assert set(near.split()) & set(name.split())


def test_a_language_whose_words_never_fit_holds_nobody_up() -> None:
    """Drawing names went on for ever: 14 letters are the most, and all its endings are longer."""
    long = _Language(("b",), ("a",), ("t",), 0.0, ("xxxxxxxxxxxxxxx",), "")
    names = OtherNames(())
    assert 2 < len(names._word(Random(0), long, first=False)) <= 14
    drawn = [names.draw(Random(f"{seed}"), 8) for seed in range(300)]
    assert all(len(one) == 8 for one in drawn)
