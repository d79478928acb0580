import pytest

from memplus.evaluation.engine.stemmed import parts_f1, stemmed_f1


@pytest.mark.parametrize(
    ("said", "answer", "share"),
    [
        ("painted sunsets", "painting a sunset", 1.0),
        ("The dog and the cat", "dog, cat", 1.0),
        ("7 May, 2023", "7 May 2023", 1.0),
        ("She ran a race", "charity race", 2 / 5),
        ("race race race", "race", 0.5),
        ("It's Anna's", "its annas", 1.0),
        ("", "race", 0.0),
        ("the", "the", 0.0),
    ],
)
def test_stems_in_common_are_counted(said: str, answer: str, share: float) -> None:
    assert stemmed_f1(said, answer) == pytest.approx(share)


def test_each_part_is_matched_with_the_best_of_what_was_said() -> None:
    assert parts_f1("painting, a swimming lesson", ["swim", "paints"]) == pytest.approx(
        (2 / 3 + 1) / 2
    )
    assert parts_f1("painting", ["swim", "paints"]) == 0.5
    assert parts_f1("anything", []) == 0.0


def test_one_part_is_looked_for_between_the_commas_of_what_was_said() -> None:
    said = "hiking, pottery"
    assert parts_f1(said, ["pottery"]) == 1.0
    assert stemmed_f1(said, "pottery") == pytest.approx(2 / 3)


def test_words_stay_apart_where_nothing_but_punctuation_parts_them_as_published() -> None:
    assert stemmed_f1("self-care", "selfcare") == 1.0
