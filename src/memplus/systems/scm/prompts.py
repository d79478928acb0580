"""What the model is told and asked: our own words for what the paper's prompts ask for.

Everything is English; a text that holds braces or fences stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = [
    "ANSWER_START",
    "LETTERS",
    "before_input",
    "document_piece",
    "question_one",
    "question_two",
    "summary_of",
]

LETTERS = (" A", " B")
"""What the controller's questions are answered with; which of them is yes is swapped."""
ANSWER_START = "Answer:"
"""How the controller's answer begins."""
Asked = tuple[str, str]
"""What the controller is asked, with yes as A and with yes as B."""

_ASSISTANT = "Answer the input at the end as an assistant, by what was told before."
_HISTORY, _PREVIOUS, _END = "Related history:", "Previous turn:", "###"


def before_input(activation: Sequence[str], flash: str, *, asked: bool = True) -> str:
    """What stands before the input: turns called up, the previous turn, a line that ends them.

    Args:
        activation: texts, in the order in which they were told.
        flash: the previous turn; empty where it is not given.
        asked: whether the input is to be answered, which is then said first.
    """
    parts: list[str] = []
    if activation:
        parts += [_HISTORY, *activation]
    if flash:
        parts += [_PREVIOUS, flash]
    if not parts:
        return ""
    return "\n\n".join([*([_ASSISTANT] if asked else []), *parts, _END])


def question_two(content: str, question: str) -> Asked:
    """Whether a question can be answered from a text alone."""
    given = f"Content:\n```\n{content.strip()}\n```\n\nQuestion:\n```\n{question.strip()}\n```\n\n"
    return _yes_or_no(f"{given}Does the content contain the answer to the question?")


def question_one(question: str) -> Asked:
    """Whether an input needs anything that was said or told earlier."""
    given = f"Question:\n```\n{question.strip()}\n```\n\n"
    return _yes_or_no(f"{given}Does answering it need something that was told earlier?")


def _yes_or_no(question: str) -> Asked:
    def with_choices(first: str, second: str) -> str:
        return f"{question}\nA: {first}\nB: {second}\nReply with A or B only."

    return with_choices("Yes", "No"), with_choices("No", "Yes")


def summary_of(text: str, sides: Literal[1, 2]) -> str:
    """A turn's summary: a sentence for each side of it.

    Args:
        text: of the turn, with its number.
        sides: 1 for a text that was told, 2 for what one said with what another answered.
    """
    if sides == 1:
        wish = "Say in one or two sentences what the text above tells."
    else:
        wish = (
            "Say in one sentence what the first speaker said, and in a second paragraph in one "
            "sentence what the other answered."
        )
    return f"{text}\n\n{wish} Keep every name, number and other key fact."


def document_piece(text: str, before: str, words: int) -> str:
    """The summary of a piece of a long document.

    Args:
        text: the piece.
        before: what came before it; empty for the first piece.
        words: most of them in the summary.
    """
    background = f"What came before, for background only:\n{before}\n\n" if before else ""
    repeat = " Do not repeat the background." if before else ""
    wish = f"Summarise the section in at most {words} words, beginning with: This section is about"
    return f"{background}Section:\n{text}\n\n{wish}{repeat}"


def group_of_summaries(summaries: Sequence[str], tokens: int) -> str:
    """One summary of neighbouring ones, in about a third of their length.

    Args:
        summaries: in the document's order.
        tokens: most of them in the new one.
    """
    wish = "Put these summaries of sections that follow each other into one, keeping their order"
    limit = f"and about 30 percent of their length, in at most {tokens} tokens."
    return "\n\n".join([*summaries, f"{wish} {limit}"])
