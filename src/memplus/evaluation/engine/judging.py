"""The one judge of answers: what was said against what is right. It knows strings only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from memplus.data.wording import bare, same_wording
from memplus.errors import ConfigError
from memplus.evaluation.engine.stemmed import parts_f1, stemmed_f1

__all__ = [
    "JUDGING",
    "Judge",
    "Rule",
    "contains",
    "is_right",
    "named",
    "pairs_in_order",
    "share_named",
    "token_f1",
]

Rule = Literal[
    "exact",
    "contains",
    "f1",
    "choice",
    "order",
    "all",
    "labels",
    "stemmed_f1",
    "stemmed_parts",
    "likelihood",
]
JUDGING = 1
"""Part of a run's identity: raised when the same answers come to other credits or figures."""
_BABILONG_END = re.compile(r"\.|<context>|<example>|question:")
_RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, slots=True)
class Judge:
    """How questions are put and answers are judged."""

    rule: Rule = "exact"
    """``exact``: all of what was said must be the answer. ``contains``: the answer must stand in
    it, or in what was generated after it. ``f1``: words in common. ``choice``: the most likely
    of a question's options, whatever would have been said; where a system gives no likelihoods, the
    option that it names first. ``order``: the answers are items, which
    must be named in their order. ``all``: the share of the answers that stand in it, or in what was
    generated after it. ``labels``: of a question's options the answers, and no other, must be named
    in the first sentence that was generated. ``stemmed_f1``: stems in common. ``stemmed_parts``:
    the answers are parts, each of which is looked for between the commas of what was said.
    ``likelihood``: nothing is judged, the likelihood of a question's only option is what is looked
    for."""
    max_new_tokens: int | None = None
    """Most tokens of an answer; None: the system's own."""
    least: float = 1.0
    """The credit from which an answer counts as right; less than 1 makes sense for ``f1`` and
    its kin."""
    explained: bool = False
    """Whether systems that can say how sure they are do so, and decline where they are not."""
    min_confidence: float | None = None
    """The confidence below which they decline; None: the system's own."""
    judges_answer: bool = False
    """Whether ``contains`` and ``all`` look at the answer alone, not at what was generated after
    it."""
    judges_withheld: bool = False
    """Whether an answer that was withheld for lack of confidence is judged by what it would have
    been; that it was declined is said beside it."""

    def __post_init__(self) -> None:
        """Refuse what cannot judge.

        Raises:
            ConfigError: there is no such rule, or no credit is enough.
        """
        if self.rule not in _RULES:
            raise ConfigError("rule", value=self.rule, reason=f"there are {', '.join(_RULES)}")
        if not 0 < self.least <= 1:
            raise ConfigError("least", value=self.least, reason="it is not above 0 and up to 1")

    @property
    def scores(self) -> bool:
        """Whether it looks at likelihoods, and nothing is said."""
        return self.rule in ("choice", "likelihood")

    @property
    def needs_scores(self) -> bool:
        """Whether a system without likelihoods cannot be judged: what one names can be chosen."""
        return self.rule == "likelihood"

    @property
    def takes_all(self) -> bool:
        """Whether all that was generated is judged, not what an answer was cut to."""
        whole = self.rule in ("contains", "all", "labels")
        return whole and not (self.judges_answer or self.explained)

    def credit(self, said: str, answers: Sequence[str], options: Sequence[str] = ()) -> float:
        """How right an answer is, 0 to 1.

        Args:
            said: by a system; for ``choice`` the option chosen.
            answers: any of them is right; for ``order`` all of them in turn; for ``all``,
                ``labels`` and ``stemmed_parts`` all of them in any order.
            options: for ``labels`` all that could be named.
        """
        if self.rule == "labels":
            return float(bool(answers) and named(said, options) == set(answers))
        if self.rule in _OF_ALL:
            return _OF_ALL[self.rule](said, answers)
        compare = _OF_ANY.get(self.rule, is_right)
        return max((float(compare(said, answer)) for answer in answers), default=0.0)

    def right(self, said: str, answers: Sequence[str]) -> bool:
        """Whether an answer counts as right."""
        return self.credit(said, answers) >= self.least


def is_right(said: str, answer: str) -> bool:
    """Whether the whole of what was said is the answer, but for case, spaces and a full stop.

    Strict on purpose: an answer that lists several values is not right, though it holds one.
    """
    return same_wording(said, answer)


def contains(said: str, answer: str) -> bool:
    """Whether the answer stands somewhere in what was said, but for case and spaces.

    An answer that is nothing but punctuation is contained in nothing.
    """
    return bool(bare(answer)) and bare(answer) in bare(said)


def share_named(said: str, answers: Sequence[str]) -> float:
    """Share of the answers that stand somewhere in what was said, 0 to 1 (2404.06654)."""
    return sum(contains(said, answer) for answer in answers) / len(answers) if answers else 0.0


def named(said: str, labels: Sequence[str]) -> set[str]:
    """Labels that stand as words in the first sentence of what was said, as BABILong reads answers.

    Its own code (2406.10149) looks for the letters of a label anywhere, so that "none" names "one"
    too and "I know" names "no"; here a label is a whole word. Examples that a model goes on to make
    up are cut off.
    """
    first = _BABILONG_END.split(said.casefold(), maxsplit=1)[0]
    return {label for label in labels if re.search(rf"\b{re.escape(label.casefold())}\b", first)}


def token_f1(said: str, answer: str) -> float:
    """Harmonic mean of the shares of words in common, 0 to 1, as SQuAD has it but for articles."""
    mine, right = bare(said).split(), bare(answer).split()
    common = sum((Counter(mine) & Counter(right)).values())
    return 2 * common / (len(mine) + len(right)) if common else float(mine == right)


def pairs_in_order(said: str, items: Sequence[str]) -> float:
    """Share of pairs of items that are both named, and first named in their order; 0 to 1."""
    text = bare(said)
    places = [text.find(bare(item)) for item in items]
    pairs = list(combinations(places, 2))
    if not pairs:
        return float(all(place >= 0 for place in places))
    return sum(0 <= first < second for first, second in pairs) / len(pairs)


_OF_ALL: dict[Rule, Callable[[str, Sequence[str]], float]] = {
    "order": pairs_in_order,
    "all": share_named,
    "stemmed_parts": parts_f1,
}
"""Rules that look for all answers of a question."""
_OF_ANY: dict[Rule, Callable[[str, str], float]] = {
    "contains": contains,
    "f1": token_f1,
    "stemmed_f1": stemmed_f1,
}
"""Rules by which any answer will do; the others want its very words."""
