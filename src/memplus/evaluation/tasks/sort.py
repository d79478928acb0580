"""Book-SORT: an excerpt of a book is read, and which of two segments of it came first is asked.

Written to a system, the excerpt is its memory's business (condition "memory" for a memory, "in
context" for one that puts the text into the prompt, "none" for one that keeps nothing); with
``shown`` it stands in every prompt behind a reading instruction, and nothing is written. An excerpt
is written once for all that is asked about it: its pairs, in both orders.

Both orders of every pair are scored, because small models name one letter whatever they are
shown: by what the order changes in their scores they may still tell which segment was earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import Any, ClassVar, Literal, Self

from memplus.data.booksort import (
    EXCERPT_WORDS,
    SEGMENT_WORDS,
    TEST,
    VALIDATION,
    BookSort,
    Excerpt,
    Pair,
)
from memplus.data.stream import Reference, sentences_of
from memplus.errors import ConfigError, MissingDataError, NotFoundError
from memplus.evaluation.engine.figures import Figure, pooled, repeated, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.summary import Z, wilson
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs, Need
from memplus.evaluation.tasks.sizes import require_each, require_least
from memplus.evaluation.tasks.sort_wordings import (
    ENDS,
    LABELS,
    OPTIONS,
    Trial,
    Wording,
    label_of,
    wordings,
)

__all__ = ["GIVEN", "SWAPPED", "SortTask", "decided", "question_of", "sort_figures"]

GIVEN, SWAPPED = "given", "swapped"
"""The orders in which a pair is shown: as it is published, and the other."""
_OF_LENGTH = " words, "
"""Stands in a kind behind the words of the excerpt."""
_BOTH = "right in both orders"
_MOVED = "moved"
"""Marks a pair of which a segment does not stand at its published place in the excerpt."""
_SAID = ", by the letter said"
"""Marks figures of a system that gives no likelihoods."""
_BOOKSORT = Need(
    "booksort",
    "CC0 1.0; the books are in the public domain",
    "Book-SORT's segments, excerpts and books",
)

Line = Mapping[str, Any]


@dataclass(frozen=True)
class SortTask(BenchTask):
    """Which of two segments came first (2410.08133)."""

    name: ClassVar[str] = "sort"
    title: ClassVar[str] = "Book-SORT: which segment came first"
    axis: ClassVar[str] = "words of the excerpt, or words between the segments (less than)"
    judge: ClassVar[Judge] = Judge("choice", max_new_tokens=16)
    needs: ClassVar[tuple[Need, ...]] = (_BOOKSORT,)

    lengths: tuple[int, ...] = EXCERPT_WORDS
    """Words of the excerpts: 250, 1000, 2500, 10000, 20000."""
    segments: tuple[int, ...] = SEGMENT_WORDS
    """Words of the segments: 20, 50."""
    items: int = len(TEST)
    """Excerpts of every book, the first ones; a pair of segments for each of four distances."""
    part: Literal["test", "validation"] = "test"
    """Figures are about the excerpts of "test", a wording is chosen on those of "validation"."""
    ends: tuple[str, ...] = ("first",)
    """What is asked for: first, second."""
    wording: str = "pieces"
    """How it is asked; "all" asks in every wording, to choose one."""
    shown: bool = False
    """Whether the excerpt stands in every prompt, and nothing is written."""
    shuffled: bool = False
    """Whether the excerpt's sentences are shuffled before it is written: no order to remember."""
    seed: int = 0
    """Of the sessions and of the shuffling."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, something twice, or something that there is not.
        """
        wordings(self.wording)
        for name in ("lengths", "segments", "ends"):
            require_each(name, getattr(self, name))
        for end in self.ends:
            if end not in ENDS:
                raise ConfigError("ends", value=end, reason=f"there are {', '.join(ENDS)}")
        require_least("items", self.items)

    @classmethod
    def small(cls) -> Self:
        """Excerpts of 250 words, two of every book: 72 pairs."""
        return cls(lengths=(250,), segments=(50,), items=2)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """See ``BenchTask.plans``; one for every excerpt."""
        data = BookSort(inputs.path(_BOOKSORT))
        indices = TEST if self.part == "test" else VALIDATION
        try:
            return [
                self._plan(excerpt, (length, size), inputs.reference)
                for length in self.lengths
                for size in self.segments
                for excerpt in data.excerpts(length, size, indices[: self.items])
            ]
        except NotFoundError as error:
            path = str(error.fields["path"])
            raise MissingDataError(path, what=_BOOKSORT.what, licence=_BOOKSORT.licence) from error

    def _plan(self, excerpt: Excerpt, sizes: tuple[int, int], reference: Reference) -> Plan:
        length, size = sizes
        name = f"{excerpt.book}, {length} words, segments of {size}, excerpt {excerpt.index}"
        asked = tuple(self._questions(excerpt, f"{length}{_OF_LENGTH}segments of {size}"))
        pieces = () if self.shown else self._pieces(excerpt.text, name)
        tokens = sum(len(ends) for ends in reference(list(pieces)))
        step = Step(pieces, tokens, excerpt.title, asked, flush=bool(pieces))
        return Plan(name, self.seed, (step,), asked)

    def _pieces(self, text: str, name: str) -> tuple[str, ...]:
        """An excerpt sentence by sentence."""
        sentences = [one.strip() for one in sentences_of(text)]
        if self.shuffled:
            Random(f"{self.seed} {name}").shuffle(sentences)
        return (sentences[0], *(f" {one}" for one in sentences[1:]))

    def _questions(self, excerpt: Excerpt, kind: str) -> Iterator[Question]:
        for wording in wordings(self.wording):
            for end in self.ends:
                named = [kind]
                named += [end] if len(self.ends) > 1 else []
                named += [wording.name] if self.wording == "all" else []
                for pair, exact in zip(excerpt.pairs, excerpt.exact, strict=True):
                    marks = () if exact else (_MOVED,)
                    for order in (GIVEN, SWAPPED):
                        question = question_of(excerpt, pair, wording, end, order, shown=self.shown)
                        yield replace(question, kind=", ".join(named), marks=marks)

    def figures(self, lines: Iterable[Line]) -> list[Figure]:
        """See ``BenchTask.figures`` and ``sort_figures``."""
        return sort_figures(list(lines))

    def headline(self, lines: Iterable[Line]) -> list[Figure]:
        """Right answers over both orders."""
        return shares(pooled(lines), _BOTH)


def question_of(
    excerpt: Excerpt, pair: Pair, wording: Wording, end: str, order: str, *, shown: bool
) -> Question:
    """One trial, without its kind.

    Args:
        excerpt: of a book.
        pair: of segments of it.
        wording: of the prompt.
        end: "first" or "second": which of the two is asked for.
        order: "given": as it is published; "swapped".
        shown: whether the excerpt stands in the prompt.
    """
    earlier_first = pair.earlier_shown_first == (order == GIVEN)
    texts = (pair.earlier, pair.later) if earlier_first else (pair.later, pair.earlier)
    trial = Trial(excerpt.title, texts, end, excerpt.text if shown else "")
    right = LABELS[0 if earlier_first == (end == ENDS[0]) else 1]
    return Question(
        key=f"{pair.bin_end}/{end}/{wording.name}/{order}",
        kind="",
        text=wording.prompt(trial),
        answers=(right,),
        wanted=pair.bin_end,
        options=OPTIONS,
        answer_start=wording.answer_start,
    )


def decided(scores: Sequence[Sequence[float]], *, bare_only: bool = False) -> dict[str, float]:
    """Score of each label: the likeliest way of naming it.

    Args:
        scores: (log-probability, tokens) of each of ``OPTIONS``.
        bare_only: whether only the letter without a blank counts, as in the published code.
    """
    found: dict[str, float] = {}
    for option, (score, *_) in zip(OPTIONS, scores, strict=True):
        if not (bare_only and option.startswith(" ")):
            label = label_of(option)
            found[label] = max(score, found.get(label, score))
    return found


def sort_figures(lines: Sequence[Line]) -> list[Figure]:
    """Figures of one system: by the words of the excerpt, by distance, and over all.

    Over both orders: right answers. Over the published order alone: right answers, and answers
    "A", beside which the former are to be seen. Of pairs: those of which the score of A over B is
    higher where A is right than in the other order, so that a liking for a letter falls out. Where
    there are any, the share of pairs that stand a few words beside their published places.

    Args:
        lines: answers; those of a system that gives no likelihoods hold no scores, and their
            figures say so.
    """
    by_length = [_over_distances(line) for line in lines]
    return [*_figures(by_length), *_over_all(by_length), *_figures(repeated(lines))]


def _over_distances(line: Line) -> Line:
    """The line under the words of its excerpt, whatever the distance."""
    length, _, kind = line["kind"].partition(_OF_LENGTH)
    return {**line, "kind": kind, "wanted": int(length)}


def _figures(lines: Sequence[Line]) -> list[Figure]:
    said = "" if any("scores" in line for line in lines) else _SAID
    given = [
        {
            **line,
            "says_a": label_of(line["said"]) == LABELS[0],
            _MOVED: _MOVED in line.get("marks", ()),
        }
        for line in lines
        if line["key"].endswith(GIVEN)
    ]
    moved = shares(given, "pairs off by a heading", _MOVED) if any(map(_is_moved, given)) else []
    return [
        *shares(lines, _BOTH + said),
        *shares(given, "right as published" + said),
        *shares(given, "says A" + said, "says_a"),
        *shares(_without_bias(lines), "right without bias"),
        *moved,
    ]


def _is_moved(line: Line) -> bool:
    return bool(line[_MOVED])


def _without_bias(lines: Sequence[Line]) -> list[Line]:
    """A line for every pair that was scored in both orders."""
    pairs: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if "scores" in line:
            pair = (line["plan"], line["key"].rpartition("/")[0])
            pairs.setdefault(pair, []).append(line)
    found: list[Line] = []
    for both in pairs.values():
        by_answer = {line["answers"][0]: line for line in both}
        if len(by_answer) == len(LABELS):
            where_a, where_b = (_a_over_b(by_answer[label]) for label in LABELS)
            found.append({**both[0], "right": where_a > where_b})
    return found


def _a_over_b(line: Line) -> float:
    scores = decided(line["scores"])
    return scores[LABELS[0]] - scores[LABELS[1]]


def _over_all(lines: Sequence[Line]) -> list[Figure]:
    """Over all lengths and segments together: of all rows, and the mean of the files' shares."""
    files = shares(lines)
    if len(files) < 2:
        return []
    (rows,) = shares(pooled(lines), _BOTH)
    mean = fmean(one.value for one in files)
    variance = sum(one.value * (1 - one.value) / one.asked for one in files)
    spread = Z * variance**0.5 / len(files)
    low, high = max(0.0, mean - spread), min(1.0, mean + spread)
    if not variance:  # all right or all wrong in every file, which another draw need not be
        low, high = wilson(mean * rows.asked, rows.asked)
    measure = f"{_BOTH}, mean of the files"
    return [rows, replace(rows, measure=measure, value=mean, low=low, high=high)]
