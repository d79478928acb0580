from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.systems.scm.tiny import small, told

from memplus.errors import CorruptMemoryError
from memplus.systems.scm.saved import packed, unpacked
from memplus.systems.scm.stream import Stream, Waiting

PATH = Path("session")


@pytest.fixture(scope="module")
def stream() -> Stream:
    """One that holds a bit of everything; nobody writes to it."""
    session = told(small(embed="hidden", vector_of="summary"))
    session.tell("Größe 😀?", "Yes.", source="talk")
    session.write("It waits, 😀", "talk")
    return session.stream


@pytest.mark.long
def test_a_stream_is_unpacked_as_it_was_packed(stream: Stream) -> None:
    state, tensors = packed(stream)
    found = unpacked(PATH, state, tensors, 32)
    for ours, theirs in zip(found.turns, stream.turns, strict=True):
        assert replace(ours, vector=None) == replace(theirs, vector=None)
        assert ours.vector is not None
        assert theirs.vector is not None
        assert torch.equal(ours.vector, theirs.vector)
    assert (found.waiting, found.tokens) == (stream.waiting, stream.tokens)
    assert unpacked(PATH, *packed(Stream()), 32) == Stream()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("turns", lambda one: one[:, :5]),
        ("turns", lambda one: one + 1000),
        ("turns", lambda one: one - 2),
        ("turns", lambda one: one[:-1]),
        ("texts", lambda one: one[:-1]),
        ("texts", lambda one: torch.full_like(one, 255)),
        ("vectors", lambda one: one[:-1]),
        ("ends", lambda one: one.flip(0)),
        ("ends", lambda one: one + 100),
    ],
)
def test_what_is_no_stream_is_refused(stream: Stream, name: str, change: object) -> None:
    state, tensors = packed(stream)
    assert callable(change)
    with pytest.raises(CorruptMemoryError):
        unpacked(PATH, state, {**tensors, name: change(tensors[name])}, 32)


def test_sources_and_their_tokens_must_fit(stream: Stream) -> None:
    state, tensors = packed(stream)
    with pytest.raises(CorruptMemoryError, match="sources"):
        unpacked(PATH, state.model_copy(update={"told": [1]}), tensors, 32)


def test_a_stream_that_was_cut_behind_a_character_of_many_tokens_is_loaded(tmp_path: Path) -> None:
    system = small(chunk=6)
    session = system.open(0)
    session.write("ab cdé\nxy", "text")
    (turn,) = session.stream.turns
    assert (turn.chunk.observation, turn.chunk.length) == ("ab cdé", 7)
    session.save(tmp_path / "session")
    assert system.load(tmp_path / "session").stream == session.stream


def test_tokens_of_a_character_that_an_older_file_left_behind_its_turn_are_loaded() -> None:
    waiting = Waiting("text", 6, "\nxy", (0, 1, 2, 3))
    state, tensors = packed(Stream((), waiting, {"text": 10}))
    assert unpacked(PATH, state, tensors, 0).waiting == waiting
    with pytest.raises(CorruptMemoryError, match="ends"):
        unpacked(PATH, state, {**tensors, "ends": tensors["ends"] - 1}, 0)
