import pytest
from tests.evaluation.conftest import text_of, words

from memplus.data.outside import BUNDLED_NAMES, read_names
from memplus.data.statements import HELD_OUT_TOPICS, read_statements
from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.tasks.demonstration_plans import (
    NOTE_SIZES,
    STATEMENT_SIZES,
    notes_to_tell,
    statements_to_tell,
)
from memplus.evaluation.tasks.retention import RetentionSizes

TEXTS = Texts.of(["The sun rose. A dog barked! Nobody came. " * 200], words)


def test_statements_are_held_out_and_told_word_for_word_in_the_text() -> None:
    telling = statements_to_tell(TEXTS, 10, RetentionSizes(6, (0, 100)), 2)
    whole = "".join(text_of(telling.plan))
    told = [one for one in read_statements(HELD_OUT_TOPICS) if f" {one.text}" in whole]
    assert len(told) == 6
    written = whole.split()
    for question in telling.about_told:
        assert question.told is not None
        stated = " ".join(written[question.told.start : question.told.end])
        assert question.answers[0] in stated


def test_each_statement_has_one_question_at_each_distance() -> None:
    telling = statements_to_tell(TEXTS, 10, RetentionSizes(6, (0, 100)), 2)
    assert len(telling.about_told) == 12
    assert len({one.text for one in telling.about_told}) == 6
    assert telling.distances == [0, 100]
    untold = [one for one in telling.plan.questions if one.kind != telling.kind]
    assert [one.answers for one in untold] == [(), (), ()]


def test_more_statements_than_are_held_out_are_refused() -> None:
    with pytest.raises(ConfigError, match="statements that no training reads"):
        statements_to_tell(TEXTS, 10, RetentionSizes(150, (0,)), 0)


def test_notes_are_about_people_whose_names_no_generator_made() -> None:
    people = read_names(BUNDLED_NAMES)
    telling = notes_to_tell(TEXTS, 10, RetentionSizes(6, (0, 100)), 2)
    for question in telling.plan.questions:
        assert any(name in question.text for name in people), question.text


def test_more_notes_than_half_of_the_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are 200 names, and 202 are needed"):
        notes_to_tell(TEXTS, 10, RetentionSizes(101, (0,)), 0)


def test_distances_that_the_text_is_too_short_for_are_left_out() -> None:
    sizes = RetentionSizes(3, (0, 100, 5000))
    for make in (notes_to_tell, statements_to_tell):
        telling = make(TEXTS, 10, sizes, 0)
        assert telling.distances == [0, 100]
        assert telling.plan.tokens <= TEXTS.tokens


def test_a_text_too_short_for_any_distance_is_refused() -> None:
    short = Texts.of(["The sun rose. A dog barked! Nobody came."], words)
    for make in (notes_to_tell, statements_to_tell):
        with pytest.raises(ConfigError, match="too short to ask"):
            make(short, 10, RetentionSizes(3, (0, 200)), 0)


def test_a_withheld_answer_about_a_statement_is_not_right() -> None:
    judge = statements_to_tell(TEXTS, 10, RetentionSizes(3, (0,)), 0).judge
    assert judge.right("It costs 40 euros a day.", ["40 euros"])
    assert judge.explained
    assert not judge.judges_withheld


def test_the_usual_sizes_rise() -> None:
    for sizes in (NOTE_SIZES, STATEMENT_SIZES):
        assert list(sizes.distances) == sorted(set(sizes.distances))
