"""How sentences and questions are put to the tuned model, as in its training."""

from __future__ import annotations

__all__ = ["question_prompt", "text_prompt"]


def text_prompt(sentence: str) -> str:
    """A sentence that may hold something to be stored; calls or the end of text follow."""
    return f"Text: {' '.join(sentence.split())}\n"


def question_prompt(question: str) -> str:
    """A question; a read call follows."""
    return f"Question: {' '.join(question.split())}\n"
