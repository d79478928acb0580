"""Words, names and numbers that made-up facts are put together from, drawn by their kind.

A text holds slots: ``{colour}`` is anything of the list of that name, which may hold slots itself;
``{Colour}`` the same with a capital letter; ``{n3-90}`` a number, ``{w3-90}`` the same in words;
and some kinds (names, dates, prices) are made by rule. "a" before a slot fits what it becomes.

This room knows words only: no tensors and no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

from memplus.data.names import OtherNames, held_out_words
from memplus.data.note_parts import FIRST_NAMES
from memplus.data.plain_names import Kind, PlainNames

__all__ = ["MadeValues", "in_words"]

_SLOT = re.compile(r"(?:\b([Aa]) )?\{([A-Za-z_]+?)(?:(\d+)-(\d+))?\}")
_VOWEL = re.compile(r"(?!uk|uni|us[ei]|eu|one\b)[aeiou]", re.IGNORECASE)
"""How a word begins that "an" stands before."""
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_PAST = ("five", "ten", "a quarter", "twenty", "twenty-five")
_WAYS = "Street Street Street Road Road Lane Lane Avenue Square Row Crescent Hill Alley".split()
_CURRENCIES = ("euros", "pounds", "dollars", "francs", "kroner")
_SIGNS = "€£$"
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXZ"
_ORDINARY = 0.5
"""Share of names that people really have, in parts."""


class MadeValues:
    """Fills the slots of texts.

    Args:
        lists: what the slots of these names may become.
    """

    def __init__(self, lists: Mapping[str, Sequence[str]]) -> None:
        self._lists = dict(lists)
        self._others = OtherNames(())
        known = {*lists.get("first_name", ()), *FIRST_NAMES} - held_out_words()
        self._firsts = tuple(sorted(known))
        self._made: dict[str, Callable[[Random], str]] = {
            "first": self._first,
            "family": self._family,
            "person": self._person,
            "street": self._street,
            "town": lambda random: _plain(random, "town"),
            "firm": lambda random: _plain(random, "company"),
            "club": lambda random: _plain(random, "club"),
            "title": lambda random: _plain(random, "book"),
            "day": lambda random: random.choice(_DAYS),
            "L": lambda random: random.choice(_LETTERS),
            "kilos": lambda random: f"{random.randint(1, 29)}.{random.randint(1, 9)}",
            "price": _price,
            "price_high": _price_high,
            "time": _time,
            "clock": lambda random: f"{random.randint(4, 23)}:{random.randint(0, 59):02}",
            "date": _date,
            "day_of_year": _day_of_year,
        }

    def fill(
        self,
        text: str,
        random: Random,
        bound: Mapping[str, str] | None = None,
        lists: Mapping[str, Sequence[str]] | None = None,
    ) -> str:
        """A text without slots.

        Args:
            text: with slots.
            random: what it follows from.
            bound: slots that are given already.
            lists: others than those of all texts.

        Raises:
            KeyError: nothing is known of a slot.
        """

        def become(slot: re.Match[str]) -> str:
            article, name, low, high = slot.groups()
            if bound is not None and name in bound:
                value = bound[name]
            elif low is not None:
                number = random.randint(int(low), int(high))
                value = in_words(number) if name == "w" else str(number)
            elif name in self._made:
                value = self._made[name](random)
            else:
                own = (lists or {}).get(name.lower()) or self._lists[name.lower()]
                value = self.fill(random.choice(own), random, bound, lists)
                value = value[0].upper() + value[1:] if name[0].isupper() else value
            if article is None:
                return value
            return f"{article}{'n' if _VOWEL.match(value) else ''} {value}"

        return _SLOT.sub(become, text)

    def _first(self, random: Random) -> str:
        if random.random() < _ORDINARY:
            return random.choice(self._firsts)
        return self._others.first(random)

    def _family(self, random: Random) -> str:
        if random.random() < _ORDINARY:
            return _plain(random, "person").split()[-1]
        return self._others.last(random)

    def _person(self, random: Random) -> str:
        return f"{self._first(random)} {self._family(random)}"

    def _street(self, random: Random) -> str:
        named = self._family(random) if random.random() < _ORDINARY else _plain(random, "town")
        return f"{named} {random.choice(_WAYS)}"


def in_words(number: int) -> str:
    """A number below 1000 as it is spoken."""
    if number < len(_ONES):
        return _ONES[number]
    if number < 100:
        tens, ones = _TENS[number // 10 - 2], number % 10
        return f"{tens}-{_ONES[ones]}" if ones else tens
    hundreds, rest = divmod(number, 100)
    said = "a hundred" if hundreds == 1 else f"{_ONES[hundreds]} hundred"
    return f"{said} and {in_words(rest)}" if rest else said


def _plain(random: Random, kind: Kind) -> str:
    return PlainNames(random).draw(kind)


def _price(random: Random) -> str:
    if random.random() < 0.4:
        return (
            f"{random.choice(_SIGNS)}{random.randint(2, 480)}.{random.choice((50, 20, 95, 80, 45))}"
        )
    return f"{random.randint(3, 980)} {random.choice(_CURRENCIES)}"


def _price_high(random: Random) -> str:
    number = f"{random.randint(24, 1900) * 500:,}"
    if random.random() < 0.4:
        return random.choice(_SIGNS) + number
    return f"{number} {random.choice(_CURRENCIES)}"


def _time(random: Random) -> str:
    hour = random.randint(1, 12)
    form = random.random()
    if form < 0.35:
        return f"{random.randint(7, 21)}:{random.randrange(0, 60, 5):02}"
    if form < 0.5:
        return f"{hour}:{random.randint(1, 11) * 5:02} {random.choice(('am', 'pm'))}"
    if form < 0.6:
        return f"half past {in_words(hour)}"
    return f"{random.choice(_PAST)} {random.choice(('to', 'past'))} {in_words(hour)}"


def _ordinal(number: int) -> str:
    if number in (11, 12, 13):
        return f"{number}th"
    return f"{number}{('st', 'nd', 'rd')[number % 10 - 1] if number % 10 in (1, 2, 3) else 'th'}"


def _date(random: Random) -> str:
    if random.random() < 0.3:
        return f"{random.choice(_DAYS)} the {_ordinal(random.randint(1, 31))}"
    return _day_of_year(random)


def _day_of_year(random: Random) -> str:
    day, month = random.randint(1, 28), random.choice(_MONTHS)
    forms = (f"{day} {month}", f"the {_ordinal(day)} of {month}", f"{month} {day}")
    return random.choice(forms)
