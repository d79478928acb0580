import pytest

from memplus.systems.latent.prompts import Prompt, around_question


def test_what_stands_before_a_prompt_moves_its_question() -> None:
    assert Prompt((7, 8, 9), (1, 2)).behind([4, 5]) == Prompt((4, 5, 7, 8, 9), (3, 4))
    assert Prompt((7, 8, 9), (1, 2)).behind([]) == Prompt((7, 8, 9), (1, 2))


def test_a_prompt_without_tokens_is_about_what_stands_before_it() -> None:
    assert Prompt((), (0, 0)).behind([4, 5]) == Prompt((4, 5), (0, 2))
    assert Prompt((), (0, 0)).behind([]).about == (0, 0)


@pytest.mark.parametrize(("count", "left"), [(1, (1, 3)), (3, (0, 1)), (5, (0, 0))])
def test_of_a_question_that_is_taken_away_the_rest_counts(count: int, left: object) -> None:
    assert Prompt((1, 2, 3, 4, 5, 6), (2, 4)).taken(count).about == left


def test_what_is_put_behind_a_prompt_is_not_what_it_is_about() -> None:
    assert Prompt((1, 2), (0, 2)).extended([3]) == Prompt((1, 2, 3), (0, 2))


def test_a_templates_tokens_are_those_around_any_question() -> None:
    def encode(question: str) -> list[int]:
        return [1, 2, *map(ord, question), 9]

    assert around_question(encode) == (2, 1)
    assert around_question(lambda question: [*map(ord, question)]) == (0, 0)
