"""The controller: yes or no, read from two letters' probabilities (2304.13343).

A small model has a liking for one of two letters, so each question is put twice, with the letters
swapped, and the two margins are averaged. What counts as yes is a threshold measured beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

from memplus.backbone.text_cache import in_common
from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.prompts import ANSWER_START, LETTERS, question_one, question_two
from memplus.systems.scm.voice import Voice

__all__ = ["Controller", "Margins", "Thresholds"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a margin must reach to count as yes, in natural logarithms."""

    gate: float = 0.0
    """Of question 1."""
    answers: float = 0.0
    """Of question 2."""


class Margins:
    """How much more likely yes is than no, in natural logarithms.

    Args:
        voice: the model that is asked.
    """

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        first, second = (voice.shared.mplus.encode(letter) for letter in LETTERS)
        alike = next(place for place in range(len(first)) if first[place] != second[place])
        self._start = first[:alike]
        """Tokens that both letters begin with, such as a space."""
        self._letters = first[alike], second[alike]

    def gate(self, question: str) -> float:
        """Of question 1: whether an input needs what was told earlier."""
        return self._of([question_one(question)])[0]

    def answers(self, content: str, questions: list[str]) -> list[float]:
        """Of question 2: whether each of some questions can be answered from a text alone."""
        # Whatever is asked of a text stands behind it, so it is read once for many questions.
        ends = [self._prompt(question_two(content, mark)[0]) for mark in ("A", "7")]
        asked = [question_two(content, question) for question in questions]
        return self._of(asked, in_common(*ends))

    def _prompt(self, user: str) -> list[int]:
        return [*self.voice.shared.prompt_ids(ChatPrompt(user, ANSWER_START)), *self._start]

    def _of(self, asked: list[tuple[str, str]], begin: int = 0) -> list[float]:
        """Margins of what is asked in both orders; ``begin`` as for ``Voice.next_words``."""
        prompts = [self._prompt(user) for pair in asked for user in pair]
        a, b = self._letters
        words = self.voice.next_words(prompts, begin)
        leans = [float(found[a] - found[b]) for found in words]
        return [(first - second) / 2 for first, second in zip(leans[::2], leans[1::2], strict=True)]


class Controller:
    """Answers the two questions that decide what is put into a prompt.

    Args:
        margins: of the model; None: the answer is always yes, and nothing is asked.
        thresholds: measured for that model.

    Attributes:
        asked: how many questions were put to the model so far.
    """

    def __init__(self, margins: Margins | None, thresholds: Thresholds) -> None:
        self.margins = margins
        self.thresholds = thresholds
        self.asked = 0

    def needs_memory(self, question: str) -> bool:
        """Question 1."""
        if self.margins is None:
            return True
        self.asked += 1
        return self.margins.gate(question) >= self.thresholds.gate

    def answers(self, content: str, question: str) -> bool:
        """Question 2."""
        if self.margins is None:
            return True
        self.asked += 1
        return self.margins.answers(content, [question])[0] >= self.thresholds.answers
