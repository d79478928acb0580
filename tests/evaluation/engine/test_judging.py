import pytest

from memplus.evaluation.engine.judging import contains, is_right


@pytest.mark.parametrize("said", ["4821", " 4821.", "4821.\n", '"4821"'])
def test_the_value_alone_is_right(said: str) -> None:
    assert is_right(said, "4821")


@pytest.mark.parametrize("said", ["", "482", "48211", "4821 or 4822", "It is 4821", "I have no"])
def test_anything_more_or_less_is_wrong(said: str) -> None:
    assert not is_right(said, "4821")


def test_case_and_spacing_do_not_count() -> None:
    assert is_right("Green  Tea.", "green tea")


@pytest.mark.parametrize("said", [" It is in  france, I think", "France", "“France”."])
def test_an_answer_may_stand_among_others(said: str) -> None:
    assert contains(said, "France")


@pytest.mark.parametrize("said", ["", "Fran ce", "Germany"])
def test_an_answer_that_is_not_there_is_not_contained(said: str) -> None:
    assert not contains(said, "France")
