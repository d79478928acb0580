"""Answers are found again by reading the texts, without the maker's own notes."""

import re
from collections import Counter

import pytest

from memplus.data.ruler import KINDS, LEAST_TOKENS, Ruler, RulerItem
from memplus.data.stream import Texts
from memplus.errors import ConfigError


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


def prose() -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = [f"{a}{b}{c}{a}{b}" for a in letters for b in letters[:12] for c in letters[:12]]
    return ". ".join(" ".join(made[at : at + 9]).capitalize() for at in range(0, len(made), 9))


@pytest.fixture(scope="module")
def ruler() -> Ruler:
    return Ruler(Texts.of([prose()], words))


def text_of(item: RulerItem) -> str:
    return "".join(piece.text for piece in item.pieces)


def needles(item: RulerItem) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"The secret \w+ of (\S+) is (\S+)\.", text_of(item)):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [LEAST_TOKENS, 5_000])
def test_a_text_fills_its_length_and_no_more(ruler: Ruler, kind: str, tokens: int) -> None:
    item = ruler.make(kind, tokens, "0")
    assert 0.9 * tokens < len(text_of(item).split()) <= tokens
    assert item == ruler.make(kind, tokens, "0")
    assert item != ruler.make(kind, tokens, "1")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("single", "multi"))])
def test_values_of_all_keys_that_are_asked_for_are_wanted(ruler: Ruler, kind: str) -> None:
    item = ruler.make(kind, 5_000, "0")
    held = needles(item)
    asked = [key for key in held if re.search(rf"\b{key}\b", item.question)]
    values = [value for key in asked for value in held[key]]
    assert sorted(values) == sorted(item.answers)
    assert len(asked) == (4 if kind == "multi_query" else 1)
    assert len(item.answers) == (4 if kind in ("multi_query", "multi_value") else 1)
    stated = [item.pieces[place].text for place in item.stated_by]
    assert all(any(value in text for text in stated) for value in item.answers)
    assert len(stated) == len(item.answers)


def test_there_are_other_needles_where_keys_must_be_told_apart(ruler: Ruler) -> None:
    count = {kind: len(needles(ruler.make(kind, 2_000, "0"))) for kind in KINDS}
    assert count["single"] == count["single_noise"] == count["single_code"] == 1
    assert count["multi_key"] == 4
    assert count["multi_key_needles"] > 200
    assert count["multi_key_codes"] > 200


def test_no_other_needle_has_the_key_that_is_asked_for(ruler: Ruler) -> None:
    for seed in range(5):
        item = ruler.make("multi_key_needles", 60_000, str(seed))
        (key,) = [key for key in needles(item) if f" {key}?" in item.question]
        assert needles(item)[key] == list(item.answers)


def test_variables_of_the_chain_have_the_value_when_assignments_are_followed(ruler: Ruler) -> None:
    item = ruler.make("variables", 1_000, "0")
    value: dict[str, str] = {}
    for name, other, number in re.findall(r"VAR (\w+) = (?:VAR (\w+)|(\d+))\.", text_of(item)):
        value[name] = number or value[other]
    (asked,) = re.findall(r"\d{5}", item.question)
    assert set(value.values()) == {asked}
    assert tuple(value) == item.answers
    assert len(value) == 5


@pytest.mark.parametrize(("tokens", "often", "seldom"), [(1_000, 6, 1), (5_000, 30, 3)])
def test_ten_words_stand_more_often_than_all_others(
    ruler: Ruler, tokens: int, often: int, seldom: int
) -> None:
    item = ruler.make("common_words", tokens, "0")
    count = Counter(re.findall(r"\d+\. (\w+)", text_of(item)))
    assert {word for word, _ in count.most_common(10)} == set(item.answers)
    assert set(count.values()) == {often, seldom}
    numbers = [int(one) for one in re.findall(r"(\d+)\. ", text_of(item))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("tokens", [LEAST_TOKENS, 3_000])
def test_three_coded_words_come_most_often(ruler: Ruler, tokens: int) -> None:
    item = ruler.make("frequent_words", tokens, "0")
    count = Counter(text_of(item).split("\n", 1)[1].split())
    del count["..."]
    ranked = count.most_common(4)
    assert tuple(word for word, _ in ranked[:3]) == item.answers
    assert ranked[2][1] > ranked[3][1]


def test_what_cannot_be_made_is_refused(ruler: Ruler) -> None:
    with pytest.raises(ConfigError, match="there are single_noise, single"):
        ruler.make("triple", 1_000, "0")
    with pytest.raises(ConfigError, match="at least 500"):
        ruler.make("single", 499, "0")
    with pytest.raises(ConfigError, match="too few different words"):
        Ruler(Texts.of(["One two three."], words)).make("common_words", 1_000, "0")
