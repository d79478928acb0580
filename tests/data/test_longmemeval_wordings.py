"""What a made history needs of its wordings."""

from memplus.data.longmemeval_wordings import (
    ACKNOWLEDGED,
    ADVICE,
    COUNTED,
    DEEDS,
    PREFERENCES,
    SHOWN,
)


def test_every_wording_has_a_place_for_what_is_told() -> None:
    told = [*(one.says for one in (*ADVICE, *PREFERENCES, *COUNTED)), *SHOWN]
    assert all(text.count("{}") == 1 for text in told)


def test_no_question_holds_its_answer() -> None:
    for one in (*PREFERENCES, *COUNTED):
        assert not [value for value in one.values if value in one.question]


def test_values_and_questions_differ() -> None:
    for one in (*PREFERENCES, *COUNTED):
        assert len(set(one.values)) == len(one.values)
    for group in (ADVICE, PREFERENCES, COUNTED):
        assert len({one.question for one in group}) == len(group)
    assert len({one.done for one in DEEDS}) == len({one.said for one in DEEDS}) == len(DEEDS)


def test_enough_values_are_there_to_be_counted_and_deeds_make_pairs() -> None:
    assert min(len(one.values) for one in COUNTED) >= 4
    assert len(DEEDS) % 2 == 0


def test_what_the_assistant_answers_says_nothing() -> None:
    values = [value for one in (*PREFERENCES, *COUNTED) for value in one.values]
    assert not [text for text in ACKNOWLEDGED for value in values if value in text]
