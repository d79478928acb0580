from tests.systems.scm.tiny import WIDE, small

from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.stream import Chunk

CHUNK = Chunk("The gate is red, and nobody came through it.", "text", 0, 44)


def test_only_turns_that_are_compared_have_vectors_and_kept_summaries() -> None:
    frame = small(embed="hidden", vector_of="summary").frame
    turn = frame.new_turn(CHUNK, 2)
    assert turn.vector is not None
    assert turn.summary == frame.summaries.of(CHUNK, turn.text, turn.tokens)
    assert turn.tokens == len(turn.text) == len("[Turn 2]\n") + 44
    last = frame.new_turn(CHUNK, 2, compared=False)
    assert last.vector is last.summary is None
    plain = small().frame.new_turn(CHUNK, 2)
    assert plain.vector is plain.summary is None


def test_room_is_what_prompt_and_answer_leave() -> None:
    frame = small().frame
    short, long = (frame.room(ChatPrompt("x" * size), 24) for size in (1, 101))
    assert short - long == 100
    assert short < WIDE.mplus.core.positions - 24
    assert frame.room(ChatPrompt("x" * 5000), 24) == 2
