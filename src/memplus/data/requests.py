"""Inputs that need nothing of what was told before, made by rule: sums, words, things to write."""

from __future__ import annotations

from random import Random

__all__ = ["make_requests"]

_THINGS = (
    "rain", "a bridge", "the sea", "bread", "an old clock", "snow", "a lamp", "the moon",
    "a garden", "wind", "a train", "tea", "a mountain", "a letter", "the colour green", "a drum",
)  # fmt: skip
_WORDS = (
    "house", "river", "quick", "learn", "bright", "stone", "carry", "window", "early", "winter",
    "gentle", "build", "paper", "silver", "travel", "narrow",
)  # fmt: skip
_LANGUAGES = ("French", "Spanish", "German", "Italian")


def make_requests(seed: int | str, count: int) -> list[str]:
    """So many requests; the same arguments give the same ones.

    Args:
        seed: of what is drawn.
        count: how many.
    """
    random = Random(f"requests/{seed}")
    return [_request(random) for _ in range(count)]


def _request(random: Random) -> str:
    a, b = random.randint(2, 99), random.randint(2, 99)
    thing, word = random.choice(_THINGS), random.choice(_WORDS)
    return random.choice(
        (
            f"What is {a} plus {b}?",
            f"How much is {a} times {b}?",
            f"Subtract {min(a, b)} from {max(a, b)}.",
            f"Write a line about {thing}.",
            f"Tell me a short story about {thing}.",
            f"Give me a word that means the same as {word}.",
            f"How do you spell {word}?",
            f"What is {word} in {random.choice(_LANGUAGES)}?",
        )
    )
