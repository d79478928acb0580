"""Where the turns of a dialogue part, for systems that are told them one by one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["turns_of"]


def turns_of(speakers: Sequence[str], opener: str) -> tuple[tuple[int, int], ...]:
    """A dialogue of two by its turns: all that one says until the other has answered.

    Its text is a heading and a piece for each speaker; the heading belongs to the first turn.

    Args:
        speakers: who speaks, piece by piece.
        opener: the one whose words begin a turn.

    Returns:
        As ``Step.turns``: pieces of the opener and of the other one, for each turn.
    """
    turns = [[1, 0]]
    for speaker in speakers:
        if speaker == opener and turns[-1][1]:
            turns.append([0, 0])
        turns[-1][speaker != opener] += 1
    return tuple((said, answered) for said, answered in turns)
