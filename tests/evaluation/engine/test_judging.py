import pytest

from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import (
    Judge,
    contains,
    is_right,
    named,
    pairs_in_order,
    token_f1,
)


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
    assert not contains(said, ".")


@pytest.mark.parametrize(
    ("said", "answer", "share"),
    [
        ("the red gate", "red gate", 0.8),
        ("Red gate.", "red gate", 1.0),
        ("gate gate", "gate", 2 / 3),
        ("nothing", "red gate", 0.0),
        ("", "red gate", 0.0),
        ("", "", 1.0),
    ],
)
def test_words_in_common_are_counted_once_each(said: str, answer: str, share: float) -> None:
    assert token_f1(said, answer) == pytest.approx(share)


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ("first A1, then B2, then C3", 1.0),
        ("A1, C3, B2", 2 / 3),
        ("C3 B2 A1", 0.0),
        ("A1 and C3", 1 / 3),
        ("", 0.0),
    ],
)
def test_order_is_the_share_of_pairs_named_in_order(said: str, share: float) -> None:
    assert pairs_in_order(said, ["A1", "B2", "C3"]) == pytest.approx(share)


def test_one_item_has_to_be_named() -> None:
    assert pairs_in_order("it is A1", ["A1"]) == 1
    assert pairs_in_order("it is B2", ["A1"]) == 0


def test_each_rule_judges_in_its_own_way() -> None:
    answers = ["red", "dark red"]
    assert Judge("exact").right("Red.", answers)
    assert not Judge("exact").right("It is red", answers)
    assert Judge("contains").right("It is red", answers)
    assert Judge("choice").right("dark red", answers)
    assert not Judge("f1").right("very dark red", answers)
    assert Judge("f1", least=0.5).right("very dark red", answers)
    assert Judge("f1").credit("very dark red", answers) == pytest.approx(0.8)
    assert Judge("order").right("red, later dark red", answers)
    assert not Judge("order").right("later", answers)
    assert [Judge(rule).takes_all for rule in ("exact", "contains")] == [False, True]


def test_rules_and_credits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are exact, contains"):
        Judge("by ear")  # type: ignore[arg-type]
    for least in (0.0, 1.5):
        with pytest.raises(ConfigError, match="least cannot be"):
            Judge("f1", least=least)


@pytest.mark.parametrize(
    ("said", "share"),
    [("4821 and 17, so 300", 1.0), ("300", 1 / 3), ("ABCDE", 0.0), ("", 0.0)],
)
def test_of_all_answers_the_share_that_is_named_is_credited(said: str, share: float) -> None:
    judge = Judge("all")
    assert judge.credit(said, ["17", "300", "4821"]) == pytest.approx(share)
    assert judge.right(said, ["17", "300", "4821"]) == (share == 1)
    assert judge.takes_all


def test_stems_are_compared_with_any_answer_or_with_all_parts() -> None:
    assert Judge("stemmed_f1").credit("painted", ["swimming", "paints"]) == 1.0
    assert Judge("stemmed_parts").credit("painted", ["swimming", "paints"]) == 0.5


def test_labels_are_whole_words_of_the_first_sentence() -> None:
    labels = ("no", "none", "one", "Fred")
    assert named("None of them.", labels) == {"none"}
    assert named("I know FRED. No.", labels) == {"Fred"}
    judge = Judge("labels")
    assert judge.right("fred", ["Fred"]) is False, "nothing can be named without options"
    assert judge.credit("fred", ["Fred"], labels) == 1.0
    assert judge.credit("fred, no", ["Fred"], labels) == 0.0
    assert judge.credit("no fred", ["Fred", "no"], labels) == 1.0
    assert judge.credit("fred", [], labels) == 0.0
