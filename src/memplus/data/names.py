"""Names of people from everywhere: those of books, and invented ones of many sounds.

What a model learns of one generator's names says little of others. Here a name is put together
from capitalised words of running text, or from the syllables of a language that is made up on the
way. Words of the names that a figure is measured on are never drawn.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from memplus.data.outside import BOOK_NAMES, BUNDLED_NAMES, read_names

__all__ = ["OtherNames", "held_out_words", "name_words"]

_INSIDE = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,12}(?: [A-Z][a-z]{2,12})*\b")
"""Capitalised words that no sentence begins with."""
_FEWEST = 3
"""Times that a book's word must stand like this: a typing error or a stressed word stands once."""
_TITLES = tuple("Mr. Mrs. Miss Dr. Captain Lady Sir Colonel Aunt Uncle Professor Major".split())
_NO_NAMES = frozenset(
    "Hotel Villa Fort Lake Mount Camp Port Castle Street Road Sunday Monday Tuesday Wednesday "
    "Thursday Friday Saturday January February March April May June July August September October "
    "November December Mr Mrs Miss Dr Captain Lady Sir Colonel Aunt Uncle Professor Major".split()
)
_FROM_BOOKS = 0.45
_TWO_WORDS, _ONE_WORD, _TITLED = 0.7, 0.77, 0.87
"""Running shares of the forms; what is left has three words."""
_PATIENCE = 1000
"""Words of one language that are tried before it is given up."""
_KIN = 0.5
"""Share of invented names told together that have the sounds of one language."""

_CONSONANTS = "b c d f g h j k l m n p q r s t v w x y z".split()
_CLUSTERS = (
    "bh br bl ch chr cl cr dh dr dz fl fr gh gl gn gr gw hl hr hv kh kl kn kr kw lh ll mb mw nd ng "
    "nj nk ny ph pl pr ps qu rh sb sc sch sh shch sk sl sm sn sp sr st str sv sw sz th thr tl tr "
    "ts tz vl vr wh wr yr zb zd zh zl zn"
).split()
_VOWELS = "a e i o u".split()
_MORE_VOWELS = (
    "y aa ae ai ao au ea ee ei eo eu ia ie io iu oa oe oi oo ou ua ue ui uo "
    "á é í ó ú ä ö ü å ø \u0131 ã õ ê ô ą ę ě ő"
).split()
_CODAS = "d g k l ll m n nn p r s t x z".split()
_MORE_CODAS = (
    "b c f v ck ct ff ft gh ht kk ks ld lf lk lm ln lp ls lt mm mp nch nd ng nk ns nt nz pp ps "
    "rch rd rf rg rk rl rm rn rp rs rt rth rz sch sh sk ss st tch th ts tt tz ł ś ź ż ç ş ğ č š ž "
    "ň ř"
).split()


@cache
def held_out_words() -> frozenset[str]:
    """Words of the names that figures are measured on: of the bundled lists, without titles.

    Raises:
        NotFoundError, StorageError: a list is missing.
    """
    names = [name for path in (BUNDLED_NAMES, BOOK_NAMES) for name in read_names(path)]
    words = {part for name in names for part in re.split(r"[\s-]+", name)}
    return frozenset(words - {title.rstrip(".") for title in _TITLES} - set(_TITLES))


def name_words(texts: Iterable[str]) -> list[str]:
    """Capitalised words of running text that may be names, each once, in alphabetical order.

    Held-out ones are left out.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for found in _INSIDE.findall(text.replace("\n", " ")):
            counts.update(found.split())
    barred = held_out_words() | _NO_NAMES
    return sorted(word for word, n in counts.items() if n >= _FEWEST and word not in barred)


@dataclass(frozen=True)
class _Language:
    """What the words of one language are made of."""

    onsets: tuple[str, ...]
    vowels: tuple[str, ...]
    codas: tuple[str, ...]
    closed: float
    """Share of syllables that end with a consonant."""
    endings: tuple[str, ...]
    """Of last names; none where they have no endings of their own."""
    particle: str
    """Before last names; mostly nothing."""

    @classmethod
    def drawn(cls, random: Random) -> _Language:
        """Another one at every call."""
        onsets = _some(random, _CONSONANTS, (6, 12), _CLUSTERS, (0, 6))
        chosen = _some(random, _VOWELS, (3, 5), _MORE_VOWELS, (0, 3))
        codas = _some(random, _CODAS, (2, 5), _MORE_CODAS, (0, 4))
        closed = random.choice((0.05, 0.2, 0.35, 0.5))
        simple = cls(onsets, chosen, codas, closed, (), "")
        if random.random() < 0.5:
            return simple
        endings = tuple(
            random.choice(chosen) + random.choice(codas) + random.choice(("", *chosen[:3]))
            for _ in range(random.randint(2, 6))
        )
        particle = ""
        if random.random() < 0.2:
            particle = simple.word(random, 1)[:4] + random.choice(("-", "'", " "))
        return cls(onsets, chosen, codas, closed, endings, particle)

    def word(self, random: Random, syllables: int) -> str:
        """So many syllables, with a capital letter."""
        made = ""
        for _ in range(syllables):
            made += random.choice(self.onsets) if made or random.random() < 0.85 else ""
            made += random.choice(self.vowels)
            made += random.choice(self.codas) if random.random() < self.closed else ""
        return made[0].upper() + made[1:]

    def first(self, random: Random) -> str:
        """A first name."""
        return self.word(random, random.choice((1, 2, 2, 2, 2, 3)))

    def last(self, random: Random) -> str:
        """A last name."""
        if not self.endings:
            return self.particle + self.word(random, random.choice((1, 2, 2, 3)))
        return (
            self.particle
            + self.word(random, random.choice((1, 1, 2)))
            + random.choice(self.endings)
        )


def _some(
    random: Random,
    common: Sequence[str],
    of_common: tuple[int, int],
    rare: Sequence[str],
    of_rare: tuple[int, int],
) -> tuple[str, ...]:
    """A few of the common ones and fewer of the rare."""
    chosen = random.sample(common, random.randint(*of_common))
    return (*chosen, *random.sample(rare, random.randint(*of_rare)))


class OtherNames:
    """Names that no syllables of ``notes`` were made of.

    Args:
        words: capitalised words of books, from ``name_words``; without any all are invented.
        barred: words that no name may have.
    """

    def __init__(self, words: Sequence[str], barred: Collection[str] | None = None) -> None:
        self.words = tuple(words)
        self._barred = frozenset(held_out_words() if barred is None else barred)

    def draw(self, random: Random, count: int, first_names: int | None = None) -> list[str]:
        """Different names.

        Args:
            random: what they follow from.
            count: how many.
            first_names: how many first words they share; None lets each have its own.
        """
        kin = _Language.drawn(random) if random.random() < _KIN else None
        firsts = [self._first(random, kin) for _ in range(first_names or 0)]
        names: dict[str, None] = {}
        while len(names) < count:
            if firsts:
                names[f"{random.choice(firsts)} {self._last(random, kin)}"] = None
            else:
                names[self._name(random, kin)] = None
        return list(names)

    def near(self, name: str, random: Random) -> str:
        """Another name that has words of this one, or begins one of them like it."""
        words = name.split()
        while True:
            at = random.randrange(len(words))
            other = self._last(random, None) if at else self._first(random, None)
            if random.random() < 0.4 and len(words[at]) > 4:
                half = len(words[at]) // 2
                other = words[at][:half] + other[-random.randint(1, 4) :].lower()
            made = " ".join([*words[:at], other, *words[at + 1 :]])
            if made != name and not self._is_barred(made):
                return made

    def first(self, random: Random) -> str:
        """A first name alone."""
        return self._first(random, None)

    def last(self, random: Random) -> str:
        """A last name alone."""
        return self._last(random, None)

    def _name(self, random: Random, kin: _Language | None) -> str:
        form = random.random()
        if form < _TWO_WORDS:
            return f"{self._first(random, kin)} {self._last(random, kin)}"
        if form < _ONE_WORD:
            return self._last(random, kin)
        if form < _TITLED:
            return f"{random.choice(_TITLES)} {self._last(random, kin)}"
        middle = self._first(random, kin)
        middle = f"{middle[0]}." if random.random() < 0.3 else middle
        return f"{self._first(random, kin)} {middle} {self._last(random, kin)}"

    def _first(self, random: Random, kin: _Language | None) -> str:
        return self._word(random, kin, first=True)

    def _last(self, random: Random, kin: _Language | None) -> str:
        return self._word(random, kin, first=False)

    def _word(self, random: Random, kin: _Language | None, *, first: bool) -> str:
        tries = 0
        while True:
            tries += 1
            if self.words and random.random() < _FROM_BOOKS:
                word = random.choice(self.words)
            else:
                # A language may have no word of a fitting length: its names come from others then.
                own = kin if tries <= _PATIENCE else None
                language = own or _Language.drawn(random)
                word = language.first(random) if first else language.last(random)
            if 2 < len(word) <= 14 and not self._is_barred(word):
                return word

    def _is_barred(self, name: str) -> bool:
        return any(part in self._barred for part in re.split(r"[\s-]+", name))
