"""What ``bytes.py`` tells a memory and asks it in the end: notes, or what is held out.

``short_texts.py`` judges answers as it does.

Whatever is told, the text between goes on until the memory holds as many tokens as are asked for,
and all questions are asked then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random

from memplus import Memory, MPlus
from memplus.data.notes import make_notes
from memplus.data.passages import read_passages
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.evaluation.tasks.held_out import HeldOut, passage_items, statement_items
from memplus.evaluation.tasks.told import TOLD
from memplus.mplus.asking import Answer

__all__ = ["Asked", "HeldOutTold", "NotesTold", "WhatIsTold", "is_right"]

_PAGE = 1200
"""Characters of text between two things that are told."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about something told."""

    kind: str
    question: str
    answers: tuple[str, ...]


class WhatIsTold(ABC):
    """What is told and asked.

    Args:
        told: how many things are told.
        asked: the questions about them.
        judge: of the answers.
    """

    def __init__(self, told: int, asked: Sequence[Asked], judge: Judge) -> None:
        self.told = told
        self.asked = tuple(asked)
        self.judge = judge

    @abstractmethod
    def tell(self, model: MPlus, memory: Memory, tokens: int) -> None:
        """Write it, and other text, until the memory holds so many tokens."""

    def right(self, asked: Asked, answer: Answer) -> bool:
        """Whether an answer is right, as ``memplus eval`` judges it."""
        return is_right(self.judge, answer, asked.answers)


def is_right(judge: Judge, answer: Answer, answers: Sequence[str]) -> bool:
    """Whether an answer holds one of the right ones, as ``memplus eval`` judges it."""
    withheld = answer.withheld if judge.judges_withheld else ""
    return judge.right(withheld or answer.text, answers)


class NotesTold(WhatIsTold):
    """Notes of the nano's kind, one a page from the first page on; what is withheld is wrong."""

    def __init__(self, count: int) -> None:
        self._notes = make_notes("bytes", count, "held_out")
        asked = [Asked("note", one.question, (one.answer,)) for one in self._notes]
        super().__init__(count, asked, Judge("contains", explained=True))

    def tell(self, model: MPlus, memory: Memory, tokens: int) -> None:
        """Notes between pages, then the rest of the text, over and over."""
        text = language_documentation()
        pages = [text[start : start + _PAGE] for start in range(0, len(text), _PAGE)]
        for number, note in enumerate(self._notes):
            model.write(memory, f" {note.statement}", source=f"note {number}", flush=True)
            model.write(memory, pages[number % len(pages)], source="text")
        number = len(self._notes)
        while memory.tokens < tokens:
            part = "".join(pages[(number + more) % len(pages)] for more in range(8))
            model.write(memory, part, source="text")
            number += 8


class HeldOutTold(WhatIsTold):
    """Held-out passages and statements, as paragraphs at equal distances over the whole text.

    The text is the language's documentation, with passages that nobody asks for among its pages.

    Args:
        passages: a file of questions about passages.
        count: passages that are told, and statements; all where there are fewer.

    Raises:
        NotFoundError, StorageError, QuestionSetError: it cannot be used.
    """

    def __init__(self, passages: Path, count: int) -> None:
        at = (0,)  # distances are this benchmark's own
        kept = passage_items("passage", read_passages(passages, "held_out"), at)
        pool = HeldOut((*kept, *statement_items(at, ())), tuple(read_passages(passages)))
        telling = pool.deal(count, _SEED)
        mixed = Random(_SEED).sample(telling.items, len(telling.items))
        self._told = [one.text for one in mixed]
        self._others = telling.others
        asked = [Asked(one.kind, *question) for one in mixed for question in one.questions]
        super().__init__(len(self._told), asked, TOLD)

    def tell(self, model: MPlus, memory: Memory, tokens: int) -> None:
        """Each when its share of the text has been written."""
        between = self._between()
        for number, told in enumerate(self._told):
            while memory.tokens < tokens * number // len(self._told):
                model.write(memory, next(between), source="text")
            model.write(memory, f"{told}\n\n", source="text")
        while memory.tokens < tokens:
            model.write(memory, next(between), source="text")

    def _between(self) -> Iterator[str]:
        """Pages of the documentation, whole paragraphs each, and other passages by turns."""
        others = iter(self._others)
        page = ""
        for paragraph in cycle(language_documentation().split("\n\n")):
            page += f"{paragraph}\n\n"
            if len(page) >= _PAGE:
                yield page
                page = ""
                if other := next(others, ""):
                    yield f"{other}\n\n"
