"""How sentences and questions are put to the model: as in its training, or with worked examples."""

from __future__ import annotations

from memplus.systems.ret_llm.grammar import Query, Triple, query_text, result_text, write_text

__all__ = ["ASKED_EXAMPLES", "BEFORE_ANSWER", "TOLD_EXAMPLES", "question_prompt", "text_prompt"]

BEFORE_ANSWER = " "
"""Between a call's result and the answer."""


def text_prompt(sentence: str) -> str:
    """A sentence that may hold something to be stored; calls or the end of text follow."""
    return f"Text: {' '.join(sentence.split())}\n"


def question_prompt(question: str) -> str:
    """A question; a read call follows."""
    return f"Question: {' '.join(question.split())}\n"


def _told(sentence: str, *triples: Triple) -> str:
    return f"{text_prompt(sentence)}{write_text(triples) or 'Nothing.'}\n\n"


def _asked(question: str, query: Query, answer: str, *rows: Triple) -> str:
    said = f"{query_text(query)}{result_text(rows)}{BEFORE_ANSWER}{answer}"
    return f"{question_prompt(question)}{said}\n\n"


TOLD_EXAMPLES = "".join(
    (
        _told("Ada Moss is employed by Larkspur.", ("Ada Moss", "employed by", "Larkspur")),
        _told("It rained all day, and nobody came."),
        _told(
            "Ben Ode and Cleo Fry are customers of Ames & Lind.",
            ("Ben Ode", "customer of", "Ames & Lind"),
            ("Cleo Fry", "customer of", "Ames & Lind"),
        ),
        _told("Dan Ilves's locker code is 1177.", ("Dan Ilves", "locker code", "1177")),
    )
)
"""Before a sentence, for a model that was not tuned."""
ASKED_EXAMPLES = "".join(
    (
        _asked(
            "Who is employed by Larkspur?",
            Query(None, "employed by", "Larkspur"),
            "Ada Moss is employed by Larkspur.",
            ("Ada Moss", "employed by", "Larkspur"),
        ),
        _asked(
            "What is Dan Ilves's locker code?",
            Query("Dan Ilves", "locker code", None),
            "1177",
            ("Dan Ilves", "locker code", "1177"),
        ),
        _asked(
            "Who is Ben Ode?",
            Query("Ben Ode", None, None),
            "Ben Ode is a customer of Ames & Lind.",
            ("Ben Ode", "customer of", "Ames & Lind"),
        ),
        _asked("Who is Eve Tarn?", Query("Eve Tarn", None, None), "I have no note of that."),
    )
)
"""Before a question, for a model that was not tuned."""
