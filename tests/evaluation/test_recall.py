import pytest

from memplus.evaluation.planting import Fact, Planted
from memplus.evaluation.recall import Bin, Outcome, accuracy, ask_all, by_distance, is_right


def planted(index: int, distance: int) -> Planted:
    return Planted(Fact(f"{index}.", f"What is {index}?", str(index)), distance)


@pytest.mark.parametrize("said", ["4821", " 4821.", "4821.\n", '"4821"'])
def test_the_value_alone_is_right(said: str) -> None:
    assert is_right(said, "4821")


@pytest.mark.parametrize("said", ["", "482", "48211", "4821 or 4822", "It is 4821", "I have no"])
def test_anything_more_or_less_is_wrong(said: str) -> None:
    assert not is_right(said, "4821")


def test_case_and_spacing_do_not_count() -> None:
    assert is_right("Green  Tea.", "green tea")


def test_ask_all_keeps_the_order_and_judges_each() -> None:
    said = {"What is 1?": "1", "What is 2?": "3"}
    outcomes = list(ask_all([planted(1, 5), planted(2, 9)], ask=said.__getitem__, text_of=str))
    assert [(o.said, o.right) for o in outcomes] == [("1", True), ("3", False)]
    assert accuracy(outcomes) == 0.5


def outcome(distance: int, *, right: bool) -> Outcome[None]:
    return Outcome(planted(0, distance), "", right, None)


def test_bins_count_low_inclusive_high_exclusive() -> None:
    outcomes = [outcome(0, right=True), outcome(9, right=False), outcome(10, right=True)]
    assert by_distance(outcomes, [0, 10, 20, 30]) == [
        Bin(0, 10, asked=2, right=1),
        Bin(10, 20, asked=1, right=1),
        Bin(20, 30, asked=0, right=0),
    ]


def test_an_empty_bin_has_no_accuracy() -> None:
    assert Bin(0, 1, asked=0, right=0).accuracy is None
    assert Bin(0, 1, asked=4, right=1).accuracy == 0.25
    assert accuracy([]) == 0.0
