"""Where in a row of questions the question itself stands, apart from the prompt's own words.

Shapes: Q rows, t tokens of the longest one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memplus.systems.latent.prompts import around_question
from memplus.training.tasks.asked import AskedRow, Kind
from memplus.training.tasks.question_texts import Spelling

__all__ = ["QuestionPlace"]


class QuestionPlace:
    """What every prompt begins and ends with is the template's; between them stands the question.

    Args:
        spelling: writes questions in their prompt.
    """

    def __init__(self, spelling: Spelling) -> None:
        self.before, self.behind = around_question(spelling.question)
        """Tokens of the template before a question and behind it."""

    def of(self, rows: Sequence[AskedRow], length: int) -> Tensor:
        """[Q, 2] first token of each question and the one behind its last, as
        ``Mechanism.read_about`` takes them.

        Args:
            rows: padded on the left; of a piece that is gone on with, all that is given counts.
            length: t.
        """
        places = []
        for row in rows:
            start = length - (len(row.prompt) + len(row.answer) - 1)
            end = start + len(row.prompt)
            if row.kind != Kind.CONTINUED:
                start, end = start + self.before, end - self.behind
            places.append((start, max(start, end)))
        return torch.tensor(places)
