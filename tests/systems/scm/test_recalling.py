from dataclasses import replace
from typing import Any

import pytest
import torch

from memplus.systems.scm.controller import Controller, Thresholds
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.recalling import Asked, Parts, call_up
from memplus.systems.scm.selection import Form
from memplus.systems.scm.stream import Chunk, Turn

WORDS = ["red gate", "blue boat", "old keeper", "white house", "green field"]


class Judge(Controller):
    """Says yes or no as it is told."""

    def __init__(self, gate: bool, answers: bool) -> None:
        super().__init__(None, Thresholds())
        self.gate, self.yes = gate, answers
        self.calls: list[str] = []

    def needs_memory(self, question: str) -> bool:
        self.calls.append("gate")
        return self.gate

    def answers(self, content: str, question: str) -> bool:
        self.calls.append(content)
        return self.yes


def stream(repeats: int = 1) -> list[Turn]:
    turns = []
    for number, words in enumerate(WORDS, 1):
        chunk = Chunk(". ".join([words] * repeats), "text", 0, 9)
        text = chunk.text(number)
        turns.append(Turn(chunk, text, len(text)))
    return turns


def parts(judge: Judge, **options: Any) -> Parts:
    given = SCMOptions(**{"k": 2, "recency": 0, "limit": 300, "flash_limit": 100, **options})
    return Parts(
        given, judge, lambda turn: turn.text[:14], len, lambda text, count: text[:count], None
    )


def forms(asked: Asked) -> list[tuple[int, Form]]:
    return [(one.turn, one.form) for one in asked.selection.activation]


def test_the_nearest_turns_stand_before_the_previous_one() -> None:
    judge = Judge(True, True)
    asked = call_up(parts(judge), stream(), "boat and keeper", 500)
    assert forms(asked) == [(1, "raw"), (2, "raw")]
    assert asked.before.index("boat") < asked.before.index("keeper") < asked.before.index("field")
    assert [one.text for one in asked.called] == [stream()[place].text for place in (1, 2, 4)]
    assert judge.calls == ["gate"]


def test_where_the_gate_says_no_only_flash_memory_is_given() -> None:
    asked = call_up(parts(Judge(False, True)), stream(), "boat", 500)
    assert forms(asked) == []
    assert "field" in asked.before
    assert "boat" not in asked.before
    off = Judge(False, True)
    assert forms(call_up(parts(off, gate="off"), stream(), "boat", 500)) != []
    assert off.calls == []


def test_ablations_leave_out_flash_memory_activation_or_the_controller() -> None:
    asked = call_up(parts(Judge(True, True), flash=False), stream(), "boat", 500)
    assert "field" not in asked.before
    assert asked.selection.flash is None
    judge = Judge(True, True)
    asked = call_up(parts(judge, activation=False), stream(), "boat", 500)
    assert forms(asked) == judge.calls == []
    assert "field" in asked.before
    judge = Judge(True, False)
    asked = call_up(parts(judge, naive=True, gate="off", limit=150), stream(9), "boat", 500)
    assert forms(asked) == [(1, "raw")]
    assert judge.calls == []


def test_what_does_not_fit_is_judged_and_the_texts_that_are_put_in_are_those_judged() -> None:
    judge = Judge(True, True)
    asked = call_up(parts(judge, limit=200, flash_limit=9), stream(9), "boat and keeper", 500)
    assert forms(asked) == [(1, "summary"), (2, "raw")]
    assert stream(9)[1].text[:14] in asked.before
    # Both have one word of the question each, so the later one is the nearest.
    assert judge.calls == ["gate", stream(9)[1].text, stream(9)[1].text[:14]]
    refusing = Judge(True, False)
    asked = call_up(parts(refusing, limit=200, flash_limit=9), stream(9), "boat and keeper", 500)
    assert forms(asked) == [(2, "raw")]


def test_a_model_with_little_room_is_given_less() -> None:
    asked = call_up(parts(Judge(True, True)), stream(9), "boat", 40)
    assert asked.selection.tokens <= 40
    assert asked.selection.flash is not None
    assert asked.called[-1].text == asked.called[-1].turn.text[:14]


def test_an_empty_stream_and_an_input_without_words_call_nothing_up() -> None:
    judge = Judge(True, True)
    assert call_up(parts(judge), [], "boat", 500) == Asked()
    assert forms(call_up(parts(judge), stream(), " ", 500)) == []
    assert forms(call_up(parts(judge), stream()[:1], "gate", 500)) == []
    assert judge.calls == []


def test_recency_adds_to_relevance_by_its_weight() -> None:
    even = call_up(parts(Judge(True, True), recency=1, k=1), stream(), "nothing of it", 500)
    assert forms(even) == [(3, "raw")]
    weak = call_up(parts(Judge(True, True), recency=1, k=1), stream(), "red gate", 500)
    assert forms(weak) == [(0, "raw")]
    strong = call_up(parts(Judge(True, True), recency=100, k=1), stream(), "red gate", 500)
    assert forms(strong) == [(3, "raw")]


@pytest.mark.parametrize("place", range(4))
def test_vectors_are_compared_where_turns_have_them(place: int) -> None:
    turns = [replace(one, vector=torch.eye(5)[number] + 10) for number, one in enumerate(stream())]
    given = replace(parts(Judge(True, True), k=1), vector=lambda text: torch.eye(5)[place] + 10)
    assert forms(call_up(given, turns, "no word of any", 500)) == [(place, "raw")]
