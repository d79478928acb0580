"""Invented names that read like ordinary ones: of people, towns, companies, clubs and books.

For benchmarks made by rule: a name must be new to everybody, yet no riddle to spell. Each name is
given out once. This room knows words only.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal

from memplus.errors import ConfigError

__all__ = ["ADJECTIVES", "NOUNS", "Kind", "PlainNames"]

Kind = Literal["person", "town", "company", "club", "book"]

_FIRST = (
    "Ada Alma Anton Bella Boris Carla Cedric Clara Dora Edgar Edith Elena Emil Erik Esther "
    "Felix Flora Frank Georg Greta Hanna Harold Hector Helga Henry Hilda Ida Ingrid Irene Isaac "
    "Ivan Jacob Janet Jonas Julia Karl Kasper Laura Leo Leon Lena Linda Louis Lucas Lydia Mabel "
    "Magda Marcus Marta Martin Maud Max Mira Nadia Nina Nora Olga Oscar Otto Paula Peter Petra "
    "Rita Robert Rosa Rufus Sara Selma Silas Simon Sofia Stella Thea Theo Tilda Tobias Ulrich "
    "Vera Victor Viola Walter Wanda Willa Yvonne"
).split()
_NAME_HEADS = (
    "Ack Ald Arl Ben Bir Bra Bren Car Cor Crad Dal Del Dor Dun Ell Fal Fen Gar Gil Gor Had Hal "
    "Har Hol Jar Kel Kin Lam Lin Lor Mal Mar Mer Mor Nar Nor Old Orr Pel Per Quin Ral Ren Ros "
    "Sal Sel Sor Tal Tar Tor Ul Var Vel Wal Wen Win Yar Yor Zel"
).split()
_NAME_TAILS = (
    "aby acre ander ard bert ble borne by croft den dine don dor em ender er eston fax gan ger "
    "gren ham ick idge ing iver kin lan lett ley lin low man mer mond nell ner nock om ott rick "
    "row sby sen son stead tin ton ven ver wick win worth"
).split()
_TOWN_HEADS = (
    "Alder Amber Apple Ash Barn Beech Birch Black Bridge Bright Brook Castle Clay Cliff Cold "
    "Copper Cross Dale Deer Elm Fair Falcon Fern Flint Fox Glen Gold Grange Green Hart Haven "
    "Hawk Hazel Heath Heron High Hollow Iron Ivy King Lake Lark Lime Long Maple Marsh Mill Moss "
    "Oak Otter Pine Raven Red Reed River Rook Rose Sand Silver Stone Swan Thorn Wheat White "
    "Willow Wind Wolf Wood"
).split()
_TOWN_TAILS = (
    "bank beck bourne burgh bury combe cote dale den dike fell field ford gate grove ham haven "
    "hill holm hurst land lea ley low marsh mere mouth ness pool port ridge shaw stead stoke "
    "thorpe ton view ville wade wall water well wick wold worth"
).split()
_SIDES = ("North", "South", "East", "West", "Upper", "Lower", "Great", "Little", "Old", "New")
_SIDED = 0.3
_FIRMS = (
    "Bakery Bank Breweries Brothers Carriers Chemicals Dairy Electric Foundry Freight "
    "Glassworks Instruments Insurance Line Logistics Mills Mining Motors Optics Paper Partners "
    "Press Printing Railways Shipping Steel Textiles Timber Tools Works"
).split()
_CLUBS = "Athletic Chargers City Harriers Rangers Rovers Strikers Swimmers United Wanderers".split()
ADJECTIVES = (
    "ancient amber bitter blue brave bright broken bronze calm clever cloudy cold copper "
    "crimson crooked curious distant dusty early eager empty faint fearless final fragile "
    "gentle gilded golden grey green hidden hollow honest humble idle iron ivory jolly kind "
    "last late lively lonely lost lucky marble mellow merry misty narrow nimble noble odd old "
    "pale patient plain proud purple quiet rapid red restless round rusty scarlet secret "
    "shallow sharp shining silent silver simple sleepy slow small smooth steady stormy strange "
    "sunny swift tall tender tidy tiny velvet violet wandering warm white wide wild winding "
    "wooden yellow young"
).split()
"""What things are like, for names made of two words."""
NOUNS = (
    "anchor apple arrow avenue ballad barrel basket beacon bell blanket boat bottle branch "
    "bridge bucket button cabin candle canyon carpet castle cellar chapel chimney circus cloak "
    "clock coin compass corner cottage cradle crown curtain desert diary doorway dragon drum "
    "engine envelope falcon feather fence ferry fiddle flame forest fountain garden ghost "
    "glacier glove hammer harbour harvest hedge helmet hill horizon island jacket journey "
    "kettle kite ladder lake lantern lemon letter lighthouse lion mantle market meadow mirror "
    "mountain needle oasis orchard otter oven palace parade pencil pepper piano pigeon pillow "
    "planet pocket puzzle quarry rabbit raven ribbon river robin rocket saddle sailor shadow "
    "shell shoe signal sparrow spider spoon stable staircase station statue summer table temple "
    "thread tiger tower train tunnel umbrella valley village violin wagon walnut whistle willow "
    "window winter wizard"
).split()
"""What there is, for names made of two words."""
_PATIENCE = 1_000
"""Names to try before there seem to be no more."""


class PlainNames:
    """Gives out names, none of them twice.

    Args:
        random: what they follow from.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._given: set[str] = set()
        self._makers: dict[Kind, Callable[[], str]] = {
            "person": lambda: f"{random.choice(_FIRST)} {self._surname()}",
            "town": self._town,
            "company": lambda: f"{self._surname()} {random.choice(_FIRMS)}",
            "club": lambda: f"{self._place()} {random.choice(_CLUBS)}",
            "book": self._title,
        }

    def draw(self, kind: Kind) -> str:
        """A name of something of this kind.

        Raises:
            ConfigError: nearly all names of the kind have been given out.
        """
        for _ in range(_PATIENCE):
            name = self._makers[kind]()
            if name not in self._given:
                self._given.add(name)
                return name
        raise ConfigError(
            "length", value=len(self._given), reason=f"there are no more {kind} names"
        )

    def _surname(self) -> str:
        return self._random.choice(_NAME_HEADS) + self._random.choice(_NAME_TAILS)

    def _place(self) -> str:
        return self._random.choice(_TOWN_HEADS) + self._random.choice(_TOWN_TAILS)

    def _town(self) -> str:
        place = self._place()
        if self._random.random() < _SIDED:
            return f"{self._random.choice(_SIDES)} {place}"
        return place

    def _title(self) -> str:
        words = (self._random.choice(ADJECTIVES), self._random.choice(NOUNS))
        return "The " + " ".join(word.capitalize() for word in words)
