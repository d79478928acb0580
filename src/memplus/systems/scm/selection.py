"""In which form the turns that were called up are put into the prompt (2304.13343).

Pure: it knows numbers of tokens, and asks for what it does not know. Turns are numbered from 0;
the last one is flash memory, the others may become activation memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

__all__ = ["Chosen", "Form", "Limits", "Selection", "Turns", "flash_of", "select", "select_naively"]

Form = Literal["raw", "summary"]
"""A turn's whole text, or its summary."""
Rule = Literal["code", "paper"]


class Turns(Protocol):
    """What is known of the turns, and what can be asked of them."""

    def tokens(self, turn: int) -> int:
        """Tokens of a turn's text."""
        ...

    def summary_tokens(self, turn: int) -> int:
        """Tokens of a turn's summary, which may have to be made for it."""
        ...

    def answers(self, turn: int, form: Form) -> bool:
        """The controller's question 2: can the input be answered from this text alone?"""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is put into a prompt, in tokens."""

    total: int = 2500
    """Activation and flash memory together; by the paper's rule activation memory alone."""
    flash: int = 500
    """A previous turn of at most so many tokens is given whole, a longer one as its summary."""
    item: int = 800
    """By the paper's rule the controller is asked about turns of more tokens only."""
    rule: Rule = "code"
    """Which turns the controller is asked about, and what its answers do."""
    room: int = 1 << 40
    """Tokens that the model has positions for, at least 2: activation and flash memory together
    have no more of them, by whichever rule."""

    @property
    def most(self) -> int:
        """The total, as far as there are positions for it."""
        return min(self.total, self.room)

    def beside(self, flash: Chosen | None) -> int:
        """Tokens that there are positions for beside flash memory."""
        return self.room - (flash.tokens if flash else 0)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A turn that is put into the prompt."""

    turn: int
    form: Form
    tokens: int
    """That it takes there."""
    cut: bool = False
    """Whether the text of that form has more, and is cut at a sentence."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is put into the prompt."""

    activation: tuple[Chosen, ...] = ()
    """In the order in which they were told."""
    flash: Chosen | None = None

    @property
    def tokens(self) -> int:
        """Of all of it."""
        flash = self.flash.tokens if self.flash else 0
        return flash + sum(one.tokens for one in self.activation)


def flash_of(turn: int, turns: Turns, limits: Limits) -> Chosen:
    """The previous turn as it is given: whole if it is short, else its summary.

    The published code counts a turn of exactly the limit whole and gives its summary; here it is
    whole in both. Half of all room at most is its own where other turns can stand beside it.

    Args:
        turn: the last one.
        turns: what is known.
        limits: of the prompt.
    """
    room = max(1, limits.most // 2) if turn else limits.most
    if turns.tokens(turn) <= limits.flash:
        return _within(Chosen(turn, "raw", turns.tokens(turn)), room)
    return _within(Chosen(turn, "summary", turns.summary_tokens(turn)), room)


def _within(chosen: Chosen, room: int) -> Chosen:
    return chosen if chosen.tokens <= room else replace(chosen, tokens=room, cut=True)


def select(ranked: Sequence[int], flash: Chosen | None, turns: Turns, limits: Limits) -> Selection:
    """Give the nearest turns forms in which all of them fit.

    With everything below the limit nothing is asked. The nearest turn is never dropped; by the
    published code's rule it is never asked about either, by the paper's it is as any other.

    Args:
        ranked: the turns called up, from the least to the most similar; none of them flash memory.
        flash: the previous turn; None: it is not given.
        turns: what is known, and can be asked.
        limits: of the prompt.
    """
    room = min(limits.total, limits.beside(flash))
    if limits.rule == "code" and flash is not None:
        room = min(room, limits.total - flash.tokens)
    chosen = [Chosen(turn, "raw", turns.tokens(turn)) for turn in ranked]
    if _sum(chosen) > room:
        judge = _judged if limits.rule == "code" else _judged_by_the_paper
        chosen = _fitted(judge(chosen, turns, limits), room, turns)
    return Selection(tuple(sorted(chosen, key=lambda one: one.turn)), flash)


def _judged(chosen: Sequence[Chosen], turns: Turns, limits: Limits) -> list[Chosen]:
    """The first round of the published code: drop, shorten or keep all but the nearest turn."""
    kept = []
    for one in chosen[:-1]:
        if turns.answers(one.turn, "raw"):
            short = turns.answers(one.turn, "summary")
            kept.append(_summary(one, turns) if short else one)
    return [*kept, chosen[-1]]


def _judged_by_the_paper(chosen: Sequence[Chosen], turns: Turns, limits: Limits) -> list[Chosen]:
    """The paper's one question: long turns whose summary answers the input become it."""
    return [
        _summary(one, turns)
        if one.tokens > limits.item and turns.answers(one.turn, "summary")
        else one
        for one in chosen
    ]


def _summary(one: Chosen, turns: Turns) -> Chosen:
    return Chosen(one.turn, "summary", turns.summary_tokens(one.turn))


def _fitted(chosen: Sequence[Chosen], room: int, turns: Turns) -> list[Chosen]:
    """Whole texts become summaries, the least similar first, until all of it fits.

    Where summaries alone do not fit, which the published code never ends to try, they are dropped
    in the same order, and what is left of the nearest turn is cut.
    """
    kept = list(chosen)
    for place, one in enumerate(kept):
        if _sum(kept) <= room:
            return kept
        if one.form == "raw":
            kept[place] = _summary(one, turns)
    while len(kept) > 1 and _sum(kept) > room:
        del kept[0]
    return [_within(one, max(1, room)) for one in kept]


def _sum(chosen: Sequence[Chosen]) -> int:
    return sum(one.tokens for one in chosen)


def select_naively(
    ranked: Sequence[int], flash: Chosen | None, turns: Turns, limits: Limits
) -> Selection:
    """The ablation without a controller: whole texts from the nearest on, while they fit.

    As in the published code, flash memory is not counted, except where there are no positions for
    it, and the first turn that does not fit ends it. A nearest turn that is too long is cut to what
    its limits leave beside flash memory: by tokens, where the published code takes that number for
    characters.

    Args:
        ranked: the turns called up, from the least to the most similar.
        flash: the previous turn; None: it is not given.
        turns: what is known; nothing is asked.
        limits: of the prompt.
    """
    kept: list[Chosen] = []
    left = limits.beside(flash)
    room = min(limits.most, left)
    for turn in reversed(ranked):
        one = Chosen(turn, "raw", turns.tokens(turn))
        if not kept and one.tokens > room:
            kept.append(_within(one, min(max(1, limits.most - limits.flash), left)))
            break
        if kept and _sum(kept) + one.tokens >= room:
            break
        kept.append(one)
    return Selection(tuple(sorted(kept, key=lambda one: one.turn)), flash)
