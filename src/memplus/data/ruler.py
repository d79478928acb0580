"""Texts with hidden needles, assignments and frequent words, after RULER (2404.06654, section 3).

The kinds and their sizes are the published ones (appendix B); texts and wordings are our own.
Haystacks are running prose, five sentences again and again, or needles that nobody asks for.

What the paper puts into one prompt is split here: the text that is read, and the question. There is
no worked example before it and no beginning of an answer after it.
"""

from __future__ import annotations

import re
import string
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import pi
from random import Random
from typing import Literal

from memplus.data.plain_names import ADJECTIVES, NOUNS
from memplus.data.stream import Piece, RunningText, Texts
from memplus.errors import ConfigError

__all__ = ["KINDS", "LEAST_TOKENS", "Ruler", "RulerItem"]

LEAST_TOKENS = 500
"""Of a text: in shorter ones no word is frequent."""

_NOISE = (
    "The lamp is on. The tea is hot. The clock ticks. On we go. Up the stairs and down again.\n"
)
_PLACES = 40
"""Evenly spaced places of the prose, at which needles may stand."""
_HOPS = 4
_VARIABLE = 5
"""Letters of a variable's name."""
_COMMON, _LONG = 10, 4_096
_REPEATS = {True: (30, 3), False: (6, 1)}
"""Times that a common and an uncommon word stand in a long list, and in a short one."""
_CODE_LETTERS, _TOKENS_A_CODE, _FREQUENT = 6, 50, 3
_WORD = re.compile(r"\b[a-z]{4,10}\b")
_TOGETHER = 10
"""Words in a piece of text."""

Haystack = Literal["prose", "noise", "needles"]


@dataclass(frozen=True, slots=True)
class RulerItem:
    """A text and its question."""

    kind: str
    pieces: tuple[Piece, ...]
    question: str
    answers: tuple[str, ...]
    """All of them are wanted."""
    stated_by: tuple[int, ...] = ()
    """Pieces that answer it, where some do by themselves."""


@dataclass(frozen=True, slots=True)
class _Needles:
    """What is hidden, and in what."""

    haystack: Haystack = "prose"
    keys: int = 1
    values: int = 1
    """Of each key."""
    queries: int = 1
    """Keys that are asked for."""
    key: str = "words"
    value: str = "number"


_NEEDLES = {
    "single_noise": _Needles("noise"),
    "single": _Needles(),
    "single_code": _Needles(value="code"),
    "multi_key": _Needles(keys=4),
    "multi_key_needles": _Needles("needles"),
    "multi_key_codes": _Needles("needles", key="code", value="code"),
    "multi_value": _Needles(values=4),
    "multi_query": _Needles(keys=4, queries=4),
}
KINDS = (*_NEEDLES, "variables", "common_words", "frequent_words")
"""In the paper's order: niah_single_1 to 3, niah_multikey_1 to 3, niah_multivalue, niah_multiquery,
vt, cwe, fwe."""


class Ruler:
    """Makes items out of prose.

    Args:
        texts: of which haystacks are, and whose words lists are made of.
    """

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        sentences = (piece.text for pieces in texts.sentences for piece in pieces)
        self._words = sorted({word for text in sentences for word in _WORD.findall(text)})

    def make(self, kind: str, tokens: int, seed: str) -> RulerItem:
        """One item.

        Args:
            kind: of ``KINDS``.
            tokens: of the text, at most.
            seed: of everything in it.

        Raises:
            ConfigError: there is no such kind, or the text would be too short.
        """
        if kind not in KINDS:
            raise ConfigError("kinds", value=kind, reason=f"there are {', '.join(KINDS)}")
        if tokens < LEAST_TOKENS:
            reason = f"a text has at least {LEAST_TOKENS} tokens"
            raise ConfigError("lengths", value=tokens, reason=reason)
        random = Random(seed)
        if kind in _NEEDLES:
            return self._needles(kind, _NEEDLES[kind], tokens, random)
        make = {
            "variables": self._variables,
            "common_words": self._common_words,
            "frequent_words": self._frequent_words,
        }[kind]
        return make(tokens, random)

    def _pieces(self, texts: Sequence[str]) -> list[Piece]:
        ends = self._texts.reference(list(texts))
        return [Piece(text, found) for text, found in zip(texts, ends, strict=True)]

    def _needles(self, kind: str, what: _Needles, tokens: int, random: Random) -> RulerItem:
        held = [
            (key, [_drawn(what.value, random) for _ in range(what.values)])
            for key in _different(lambda: _drawn(what.key, random), what.keys)
        ]
        asked = random.sample(held, what.queries)
        told = [(key, value) for key, values in held for value in values]
        random.shuffle(told)
        needles = self._pieces([_needle(what.value, *one) for one in told])
        one = len(asked) * what.values == 1
        (start,) = self._pieces([f"This text hides secret {what.value}s. Remember them.\n"])
        left = tokens - len(start) - sum(map(len, needles))
        hay = self._haystack(what, left, random, barred={key for key, _ in held})
        places = _apart(what.haystack, len(hay), len(needles), random)
        pieces, at = _hidden([start, *hay], needles, [place + 1 for place in places])
        wanted = {key for key, _ in asked}
        stated = tuple(place for place, (key, _) in zip(at, told, strict=True) if key in wanted)
        names = _listed([key for key, _ in asked])
        question = (
            f"What is the secret {what.value} of {names}?"
            if one
            else f"What are all the secret {what.value}s of {names}?"
        )
        answers = tuple(value for _, values in asked for value in values)
        return RulerItem(kind, tuple(pieces), question, answers, stated)

    def _haystack(
        self, what: _Needles, tokens: int, random: Random, barred: Collection[str] = ()
    ) -> list[Piece]:
        """Pieces of at most so many tokens; needles among them have none of the barred keys."""
        if what.haystack == "prose":
            text = RunningText(self._texts, random.getrandbits(32))
            return _filled(iter(text.take, None), tokens)
        return _filled(self._without_prose(what, random, barred), tokens)

    def _without_prose(
        self, what: _Needles, random: Random, barred: Collection[str]
    ) -> Iterator[Piece]:
        (noise,) = self._pieces([_NOISE])
        while True:
            if what.haystack == "noise":
                yield noise
            else:
                keys = [_drawn(what.key, random) for _ in range(_TOGETHER)]
                others = [
                    _needle(what.value, key, _drawn(what.value, random))
                    for key in keys
                    if key not in barred
                ]
                yield from self._pieces(others)

    def _variables(self, tokens: int, random: Random) -> RulerItem:
        """A chain of assignments, each of which copies the one before, in their order."""
        names = _different(
            lambda: "".join(random.choices(string.ascii_uppercase, k=_VARIABLE)), _HOPS + 1
        )
        value = str(random.randint(10_000, 99_999))
        given = [value, *(f"VAR {name}" for name in names)]
        assigned = [f"VAR {name} = {what}.\n" for name, what in zip(names, given, strict=False)]
        chain = self._pieces(assigned)
        (start,) = self._pieces(["This text hides assignments to variables. Remember them.\n"])
        noise = _Needles("noise")
        hay = self._haystack(noise, tokens - len(start) - sum(map(len, chain)), random)
        places = _apart("noise", len(hay), len(chain), random)
        pieces, at = _hidden([start, *hay], chain, [place + 1 for place in places])
        question = f"Which {len(names)} variables have the value {value}?"
        return RulerItem("variables", tuple(pieces), question, tuple(names), tuple(at))

    def _common_words(self, tokens: int, random: Random) -> RulerItem:
        """A numbered list in which ten words stand many times and all others a few times."""
        often, seldom = _REPEATS[tokens >= _LONG]
        start = "A numbered list of words. Some stand in it more often than others.\n"
        words = random.sample(self._words, len(self._words))
        if len(words) < 2 * _COMMON:
            raise ConfigError("prose", value=len(words), reason="it has too few different words")
        common, others = words[:_COMMON], words[_COMMON:]

        def listed(count: int) -> list[Piece]:
            all_words = common * often + others[:count] * seldom
            Random(count).shuffle(all_words)
            numbered = [f"{index}. {word} " for index, word in enumerate(all_words, start=1)]
            return self._pieces([start, *_joined(numbered)])

        pieces = _longest(listed, tokens, len(others))
        question = "Which ten words stand most often in the numbered list?"
        return RulerItem("common_words", tuple(pieces), question, tuple(common))

    def _frequent_words(self, tokens: int, random: Random) -> RulerItem:
        """Words in code, of which the k-th comes in proportion to 1 / k^2; the first is dots."""
        size = max(tokens // _TOKENS_A_CODE, 2 * _FREQUENT)
        words = _different(
            lambda: "".join(random.choices(string.ascii_lowercase, k=_CODE_LETTERS)), size
        )
        start = "A text in code. Some of its words come more often than others.\n"

        def coded(count: int) -> list[Piece]:
            # 6 / pi^2 is one through the sum of all 1 / k^2.
            share = count * 6 / pi**2
            drawn = [
                word
                for rank, word in enumerate(["...", *words[1:]], start=1)
                for _ in range(int(share / rank**2))
            ]
            Random(count).shuffle(drawn)
            return self._pieces([start, *_joined([f"{word} " for word in drawn])])

        pieces = _longest(coded, tokens, tokens)
        question = "Which three words come most often in the coded text? Dots are no word."
        return RulerItem("frequent_words", tuple(pieces), question, tuple(words[1 : _FREQUENT + 1]))


def _needle(what: str, key: str, value: str) -> str:
    return f" The secret {what} of {key} is {value}."


def _drawn(what: str, random: Random) -> str:
    """A pair of words, a number of seven digits, or a code of 32 hexadecimal ones."""
    if what == "words":
        return f"{random.choice(ADJECTIVES)}-{random.choice(NOUNS)}"
    if what == "number":
        return str(random.randint(1_000_000, 9_999_999))
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _different(draw: Callable[[], str], count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return list(found)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _joined(words: Sequence[str]) -> list[str]:
    """Words put together to pieces of some, so that a list has fewer pieces."""
    return ["".join(words[at : at + _TOGETHER]) for at in range(0, len(words), _TOGETHER)]


def _filled(source: Iterator[Piece], tokens: int) -> list[Piece]:
    """The next pieces, as long as they fit."""
    found: list[Piece] = []
    for piece in source:
        tokens -= len(piece)
        if tokens < 0:
            break
        found.append(piece)
    return found


def _apart(haystack: Haystack, length: int, count: int, random: Random) -> list[int]:
    """Different places among so many pieces, rising."""
    if haystack != "prose":
        return sorted(random.sample(range(length + 1), count))
    depths = sorted(random.sample(range(_PLACES), count))
    return [round(depth * length / (_PLACES - 1)) for depth in depths]


def _hidden(
    pieces: Sequence[Piece], needles: Sequence[Piece], places: Sequence[int]
) -> tuple[list[Piece], list[int]]:
    """Pieces with needles put before the pieces of some places; and where the needles are then."""
    found: list[Piece] = []
    at: list[int] = []
    before = 0
    for needle, place in zip(needles, places, strict=True):
        found += pieces[before:place]
        at.append(len(found))
        found.append(needle)
        before = place
    return [*found, *pieces[before:]], at


def _longest(make: Callable[[int], list[Piece]], tokens: int, most: int) -> list[Piece]:
    """What is made of the greatest number, at most ``most``, that has at most so many tokens."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if sum(map(len, make(middle))) <= tokens:
            low = middle
        else:
            high = middle - 1
    return make(low)
