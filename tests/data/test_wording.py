import pytest

from memplus.data.wording import bare, same_wording


@pytest.mark.parametrize("text", ["Green tea", " green  TEA. ", '"Green tea."', "\uff27reen tea"])
def test_case_spaces_quotes_and_a_full_stop_do_not_count(text: str) -> None:
    assert bare(text) == "green tea"
    assert same_wording(text, "green tea")


def test_other_words_do() -> None:
    assert not same_wording("green teas", "green tea")
    assert not same_wording("", "green tea")
