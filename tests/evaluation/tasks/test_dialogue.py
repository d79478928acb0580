from memplus.evaluation.tasks.dialogue import turns_of


def test_a_turn_goes_on_until_the_opener_speaks_after_the_other() -> None:
    assert turns_of("abab", "a") == ((2, 1), (1, 1))
    assert turns_of("aabba", "a") == ((3, 2), (1, 0))


def test_the_heading_stands_before_a_side_that_answers_nothing() -> None:
    assert turns_of("bab", "a") == ((1, 1), (1, 1))
    assert turns_of("", "a") == ((1, 0),)
