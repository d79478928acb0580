"""What slots of made-up texts become."""

from __future__ import annotations

import re
from random import Random

import pytest

from memplus.data.made_values import MadeValues, in_words
from memplus.data.names import held_out_words

VALUES = MadeValues({"fruit": ("apple", "pear"), "dish": ("{fruit} pie",), "first_name": ("Zoe",)})


def drawn(text: str, count: int = 200) -> set[str]:
    return {VALUES.fill(text, Random(seed)) for seed in range(count)}


def test_a_slot_becomes_any_entry_of_its_list_and_lists_may_hold_slots() -> None:
    assert drawn("{dish} for {n3-4}") == {
        f"{fruit} pie for {number}" for fruit in ("apple", "pear") for number in (3, 4)
    }
    assert drawn("{Fruit}") == {"Apple", "Pear"}


def test_an_article_fits_what_stands_behind_it() -> None:
    assert drawn("A {fruit} and a {fruit}") >= {"An apple and a pear", "A pear and an apple"}
    words = ("ukulele", "unicorn", "used car", "one-eyed cat", "umbrella", "hour")
    known = MadeValues({"thing": words})
    said = {known.fill("a {thing}", Random(seed)) for seed in range(99)}
    assert said == {f"{'an' if word == 'umbrella' else 'a'} {word}" for word in words}


def test_bound_slots_and_own_lists_come_first() -> None:
    text = "{S} likes {fruit} and {dish}"
    lists = {"fruit": ("fig",)}
    assert VALUES.fill(text, Random(0), {"S": "Ann"}, lists) == "Ann likes fig and fig pie"


def test_an_unknown_slot_is_an_error() -> None:
    with pytest.raises(KeyError):
        VALUES.fill("{nothing}", Random(0))


def test_numbers_are_spoken() -> None:
    said = {0: "zero", 13: "thirteen", 40: "forty", 47: "forty-seven", 100: "a hundred"}
    said |= {112: "a hundred and twelve", 980: "nine hundred and eighty"}
    assert {number: in_words(number) for number in said} == said


@pytest.mark.parametrize(
    ("kind", "form"),
    {
        "price": r"[€£$]\d+\.\d\d|\d+ [a-z]+",
        "price_high": r"[€£$][\d,]+|[\d,]+ [a-z]+",
        "clock": r"\d{1,2}:[0-5]\d",
        "kilos": r"\d{1,2}\.[1-9]",
        "time": r"\d{1,2}:[0-5]\d( [ap]m)?|(half|five|ten|a quarter|twenty(-five)?) (past|to) \w+",
        "date": r"\d+ \w+|the \d+(st|nd|rd|th) of \w+|\w+ \d+|\w+day the \d+(st|nd|rd|th)",
        "day_of_year": r"\d+ \w+|the \d+(st|nd|rd|th) of \w+|\w+ \d+",
        "street": r".+ (Street|Road|Lane|Avenue|Square|Row|Crescent|Hill|Alley)",
    }.items(),
)
def test_values_made_by_rule_have_their_form_and_are_many(kind: str, form: str) -> None:
    found = drawn("{" + kind + "}", 300)
    assert all(re.fullmatch(form, one) for one in found)
    assert len(found) > 80


def test_dates_have_the_right_endings() -> None:
    found = " ".join(drawn("{date}", 3000))
    wrong = re.findall(r"\b(?:1st|1th|2th|3th|11st|12nd|13rd|21th|22th|23th|31th)\b", found)
    assert set(wrong) <= {"1st"}
    assert {"11th", "12th", "13th", "21st", "22nd", "23rd", "31st"} <= set(found.split())


def test_people_are_called_by_ordinary_and_by_invented_names_and_by_none_that_is_measured() -> None:
    found = drawn("{person}", 400)
    assert len(found) > 395
    assert not {word for name in found for word in re.split(r"[\s-]+", name)} & held_out_words()
    firsts = [name.split()[0] for name in sorted(found)]
    assert firsts.count("Zoe") >= 1
    assert len(set(firsts)) > 200
