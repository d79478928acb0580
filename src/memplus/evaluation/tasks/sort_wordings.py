"""How Book-SORT's question is put: which of two segments came first (2410.08133, section 2).

The published prompts are not repeated here; these six are our own, and differ as those do: in what
the two pieces are called, in whether the labels stand before them, in whether the text should be
remembered, and in the last question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from memplus.errors import ConfigError

__all__ = ["ENDS", "LABELS", "OPTIONS", "WORDINGS", "Trial", "Wording", "label_of", "wordings"]

LABELS = ("A", "B")
OPTIONS = ("A", "B", " A", " B")
"""All that counts as naming a label: behind "Segment" a blank and the letter are the likelier
token, but a tokenizer may have none of them."""
ENDS = ("first", "second")
"""Which of the two is asked for."""

_TAG = re.compile(r"\{(title|end|segments|excerpt|a|b)\}")


@dataclass(frozen=True, slots=True)
class Trial:
    """Two segments as they are shown, and what is asked."""

    title: str
    """Of the book."""
    shown: tuple[str, str]
    """Texts of A and of B."""
    end: str
    """Of ``ENDS``."""
    excerpt: str = ""
    """What was read, where it stands in the prompt."""

    @property
    def segments(self) -> str:
        """Both texts, in one line."""
        pieces = (f"Segment {label}: {text}" for label, text in zip(LABELS, self.shown))
        return " ".join(pieces) + "\n"


@dataclass(frozen=True, slots=True)
class Wording:
    """A prompt with ``{title}``, ``{end}``, ``{segments}``, ``{excerpt}``, ``{a}`` and ``{b}``."""

    name: str
    reading: str
    """Stands before the task where the excerpt stands in the prompt, with what parts the two."""
    task: str
    answer_start: str = "Answer: Segment"
    """What the answer begins with, so that the next token is the label."""

    def prompt(self, trial: Trial) -> str:
        """What the user says."""
        given = f"{self.reading}{self.task}" if trial.excerpt else self.task
        return self.filled(given, trial)

    def filled(self, template: str, trial: Trial) -> str:
        """A template with a trial in it; what is put in stays as it is."""
        values: Mapping[str, str] = {
            "title": trial.title,
            "end": trial.end,
            "segments": trial.segments,
            "excerpt": trial.excerpt,
            "a": LABELS[0],
            "b": LABELS[1],
        }
        return _TAG.sub(lambda tag: values[tag[1]], template)


_READ = "Read this part of {title}.\n\n{excerpt}\n\n"
_ATTEND = (
    "A part of {title} follows. Mind the order of what happens in it.\n\n{excerpt}\n\n"
    "Here the part ends.\n\n"
)

WORDINGS = {
    one.name: one
    for one in (
        Wording(
            "pieces",
            _READ,
            "Two pieces of {title} are shown below as Segment {a} and Segment {b}. Find out which "
            "of them stands {end} in the text.\n\n{segments}\n"
            "Which segment stands {end} in {title}, {a} or {b}?",
        ),
        Wording(
            "recall",
            _ATTEND,
            "Try to remember the text of {title}. Two segments of it, {a} and {b}, are repeated "
            "here, and you should recall which one came {end}.\n\n{segments}\n"
            "As you remember {title}, which segment came {end}, {a} or {b}?",
        ),
        Wording(
            "fragments",
            _READ,
            "These two fragments are from {title}, but perhaps not in the order of the "
            "book.\n\n{segments}\n"
            "By the order of the book, which fragment was {end}, {a} or {b}?",
        ),
        Wording("short", _READ, "{segments}\nWhich of these comes {end} in {title}: {a} or {b}?"),
        Wording(
            "parts",
            _ATTEND,
            "You have read {title}. Here are two parts of it. They are labelled {a} and {b}; the "
            "labels say nothing about their order.\n\n{segments}\n"
            "Which part appeared {end}? Name its label, {a} or {b}.",
        ),
        Wording(
            "scenes",
            _ATTEND,
            "In {title} one of the following segments was read before the other one.\n\n"
            "{segments}\nSay which of the two, {a} or {b}, a reader of {title} comes to {end}.",
        ),
    )
}


def wordings(name: str) -> tuple[Wording, ...]:
    """The wording of a name, or all of them.

    Args:
        name: of ``WORDINGS``, or "all".

    Raises:
        ConfigError: there is no such wording.
    """
    if name == "all":
        return tuple(WORDINGS.values())
    if name not in WORDINGS:
        reason = f"there are {', '.join(WORDINGS)}, and all"
        raise ConfigError("wording", value=name, reason=reason)
    return (WORDINGS[name],)


def label_of(option: str) -> str:
    """The label that an option names."""
    return option.strip()
