import pytest

from memplus.systems.triples.parting import parted


def short(text: str) -> bool:
    return len(text) <= 10


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("one two", ["one two"]),
        ("one two three four", ["one two", "three four"]),
        ("one\n two\n\nthree four", ["one\n two", "three four"]),
        ("the possibilities", ["the", "possib", "ilities"]),
        ("门是红色的没有人来守门人睡着了", ["门是红色的没有", "人来守门人睡着了"]),
    ],
)
def test_a_text_is_halved_at_blanks_or_where_there_is_none(text: str, parts: list[str]) -> None:
    assert parted(text, short) == parts
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_text_of_which_nothing_fits_comes_to_an_end() -> None:
    assert parted("abc", lambda _: False) == ["a", "b", "c"]
