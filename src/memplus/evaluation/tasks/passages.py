"""Question sets with their passages, by the papers' protocol for real backbones.

For every question a memory of its own: its passage first, then unrelated passages, each written
by itself, and the question after growing distances. Only questions with a short answer are taken
(SQuAD: at most 3 tokens, Natural Questions: at most 4), 10 tokens are generated, and the answer
has to stand somewhere in them (2502.00592, section 4; 2402.04624, section 4.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from memplus.data.questions import Asked, QuestionSet
from memplus.data.stream import Reference, Told
from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import Judge, contains
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.tasks.retention import RetentionSizes

__all__ = ["PROTOCOL", "QUESTION", "passage_plans"]

PROTOCOL = Judge("contains", max_new_tokens=10)
_PASSAGE, _OTHERS = "passage", "other passages"
QUESTION = "question"

_Counted = tuple[str, int]
"""A passage and its tokens."""


def passage_plans(
    questions: QuestionSet, reference: Reference, sizes: RetentionSizes, seed: int
) -> list[Plan]:
    """One plan per question; ``sizes.notes`` questions drawn at random, all where there are fewer.

    A question is asked after the first passage with which its distance has been written. A
    passage that holds one of its answers is not unrelated to it, whatever its topic. A question
    that was drawn and has no unrelated passage, such as one whose answer is a letter, is left out.

    Raises:
        ConfigError: no question is short enough, or none that was drawn has unrelated passages.
    """
    random = Random(seed)
    short = questions.short(lambda text: len(reference([text])[0])).questions
    asked = random.sample(short, min(sizes.notes, len(short)))
    topics = {one.passage: one.topic for one in questions.questions}
    counts = [len(ends) for ends in reference(list(topics))]
    tokens = dict(zip(topics, counts, strict=True))
    passages = list(topics.items())
    plans = []
    for index, one in enumerate(asked):
        others = [
            (text, tokens[text])
            for text, topic in random.sample(passages, len(passages))
            if topic != one.topic and not any(contains(text, answer) for answer in one.answers)
        ]
        if not others:
            continue
        name = f"seed {seed}, question {index}"
        steps = _steps(one, tokens[one.passage], others, sizes.distances)
        once = Question(QUESTION, QUESTION, one.question, one.answers)
        plans.append(Plan(name, seed, tuple(steps), (once,)))
    if asked and not plans:
        reason = "no passage is unrelated to it"
        raise ConfigError("questions", value=asked[0].question, reason=reason)
    return plans


def _steps(
    one: Asked, tokens: int, others: Sequence[_Counted], distances: Sequence[int]
) -> Iterator[Step]:
    told = Told(_PASSAGE, 0, tokens)
    written, text, source, turn = 0, one.passage, _PASSAGE, 0
    left = list(distances)
    while True:
        questions = []
        while left and left[0] <= written:
            key = f"{QUESTION}/{left[0]}"
            questions.append(
                Question(key, QUESTION, one.question, one.answers, left.pop(0), written, told)
            )
        yield Step((text,), tokens, source, tuple(questions), flush=True)
        if not left:
            return
        (text, tokens), source = others[turn % len(others)], _OTHERS
        turn += 1
        written += tokens
