"""What made-up notes are put together from: attributes, syllables, values, wordings, two splits.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

import hashlib
from typing import Literal

__all__ = [
    "CLOSED",
    "CORRECTIONS",
    "FIRST_NAMES",
    "NAME_HEADS",
    "NAME_TAILS",
    "PERSON_ATTRIBUTES",
    "PLACES",
    "PLACE_ATTRIBUTES",
    "QUESTIONS",
    "STATEMENTS",
    "WORD_HEADS",
    "WORD_TAILS",
    "Split",
    "ValueClass",
    "split_of",
]

Split = Literal["train", "held_out"]
ValueClass = Literal[
    "number", "word", "colour", "fruit", "city", "animal", "drink", "tool", "month", "metal"
]

_CLOSED_WORDS: dict[ValueClass, str] = {
    "colour": "red blue green yellow purple orange brown black white grey pink silver",
    "fruit": "apple pear plum cherry lemon melon grape fig peach mango banana apricot",
    "city": "Paris Rome Vienna London Madrid Lisbon Berlin Athens Cairo Prague Oslo Dublin",
    "animal": "otter badger falcon heron rabbit tiger horse goose beetle salmon wolf owl",
    "drink": "tea coffee cider milk cocoa lemonade water wine beer juice punch broth",
    "tool": "hammer chisel ladder shovel anvil needle compass lantern rope saw wrench file",
    "month": "January February March April May June July August September October",
    "metal": "iron copper tin zinc brass bronze gold nickel steel lead chrome cobalt",
}
CLOSED = {name: tuple(words.split()) for name, words in _CLOSED_WORDS.items()}
_PERSON: dict[ValueClass, tuple[str, ...]] = {
    "number": ("locker code", "badge number", "desk number", "phone extension", "parking permit",
               "ticket number", "safe code"),
    "word": ("password", "nickname", "dog's name", "cat's name", "boat's name", "horse's name"),
    "colour": ("favourite colour", "coat colour", "bicycle colour", "front door colour"),
    "fruit": ("favourite fruit", "breakfast fruit"),
    "city": ("home town", "birthplace", "holiday city"),
    "animal": ("favourite animal", "lucky animal"),
    "drink": ("favourite drink", "evening drink"),
    "tool": ("favourite tool", "lost tool"),
    "month": ("birth month", "wedding month"),
    "metal": ("favourite metal", "ring metal"),
}  # fmt: skip
_PLACE: dict[ValueClass, tuple[str, ...]] = {
    "number": ("gate code", "radio channel", "visitor count"),
    "word": ("owner's name", "guard's name", "secret name"),
    "colour": ("flag colour", "roof colour"),
    "animal": ("guard animal", "emblem animal"),
    "tool": ("spare tool",),
    "metal": ("gate metal", "bell metal"),
}
PERSON_ATTRIBUTES = [(name, kind) for kind, names in _PERSON.items() for name in names]
PLACE_ATTRIBUTES = [(name, kind) for kind, names in _PLACE.items() for name in names]

FIRST_NAMES = tuple(
    "Marta Ivan Clara Hugo Nadia Oscar Petra Simon Greta Felix Laura Boris Irene Victor Sonia Emil "
    "Alice Bruno Carmen David Elena Frank Gloria Henry Ingrid Jacob Karen Louis Maria Nelson Olga "
    "Paul Rosa Samuel Teresa Ulric Vera Walter Yusuf Zelda Anton Bella Cyril Doris Edgar Fiona "
    "Gustav Helena Igor Julia Konrad Lydia Milan Norma Otto Paula Quentin Rita Stefan Tania".split()
)
PLACES = tuple("Hotel Villa Fort Lake Mount Camp Port Castle".split())
NAME_HEADS = tuple(
    "Vel Mor Kan Bren Tor Hal Fen Gal Dor Lun Ras Wex Pol Sten Cor Nav Zim Bal Tur Kel Mar Dun "
    "Fos Gren Hol Jas Lam Mel Nor Pev Quin Rol Sar Tam Ver Wil Yor Zan Bur Cal".split()
)
NAME_TAILS = tuple(
    "ez wick ton ova mann son ley ford berg sky dale stein worth ard ini escu well by hurst grove "
    "land more ster ville kin bury ham ette osa iak".split()
)
WORD_HEADS = tuple(
    "bri zo ka mul fre pla dro gli sna tri vo qui jor hum nef ral sip tok wum yel".split()
)
WORD_TAILS = tuple(
    "nko rix lma ddo sty vax pple gon mbo zil ffy tch rru bex lop nnic dra spo kek wiz".split()
)

STATEMENTS: dict[Split, tuple[str, ...]] = {
    "train": (
        "{s}'s {a} is {v}.",
        "{s}'s {a} is {v}.",
        "The {a} of {s} is {v}.",
        "Remember that {s}'s {a} is {v}.",
        "For {s}, the {a} is {v}.",
        "Note that the {a} of {s} is {v}.",
        "We know that {s}'s {a} is {v}.",
    ),
    "held_out": (
        "It seems that {s}'s {a} is {v}.",
        "By the way, {s}'s {a} is {v}.",
        "Now, the {a} of {s} is {v}.",
        "As for {s}, the {a} is {v}.",
    ),
}
# A read sees the order of rows and no time, so two values are told apart by what was said. Held-out
# corrections are other sentences with some of the same words, as a larger model would know them.
CORRECTIONS: dict[Split, tuple[str, ...]] = {
    "train": (
        "{s}'s {a} is now {v}.",
        "Correction: {s}'s {a} is {v}.",
        "Since today the {a} of {s} is {v}.",
        "{s}'s {a} has changed and is {v}.",
        "An update: the {a} of {s} is {v}.",
        "Update on {s}: the {a} is {v}.",
        "From now on {s}'s {a} is {v}.",
        "From today the {a} of {s} is {v}.",
        "Since this day {s}'s {a} is {v}.",
        "Sorry, I was wrong, {s}'s {a} is {v}.",
        "{s}'s {a} is {v}.",
    ),
    "held_out": (
        "Update: {s}'s {a} is {v}.",
        "From this day on {s}'s {a} is {v}.",
        "Sorry, the {a} of {s} is {v}.",
    ),
}
QUESTIONS: dict[Split, tuple[str, ...]] = {
    "train": (
        "What is {s}'s {a}?",
        "What is {s}'s {a}?",
        "What is the {a} of {s}?",
        "Tell me {s}'s {a}.",
        "Do you remember {s}'s {a}?",
        "For {s}, what is the {a}?",
    ),
    "held_out": (
        "Do you know {s}'s {a}?",
        "Can you tell me {s}'s {a}?",
        "And what is the {a} of {s}?",
    ),
}


def split_of(text: str) -> Split:
    """A fifth of all names and open-class values is held out, whatever made them."""
    return "held_out" if hashlib.sha256(text.encode()).digest()[0] % 5 == 0 else "train"
