from __future__ import annotations

from pathlib import Path

import pytest

from memplus.errors import UsageError
from memplus.mplus.model import MPlus
from memplus.server.erasure import choose
from memplus.store import MemoryStore


def test_what_is_chosen_is_told_with_its_tail(tmp_path: Path, nano: MPlus) -> None:
    with MemoryStore(tmp_path).create("ann", nano) as memory:
        nano.write(memory, "The gate is red.", source="a", flush=True)
        nano.write(memory, "The dog is old.", source="b")
        written, tail = choose(memory, "a"), choose(memory, match="dog")
        assert written.left == (("b", 0, len(memory.tail)),)
        assert [one.text for one in written.texts.values()] == ["The gate is red."]
        assert written.tail_tokens == 0
        assert (tail.texts, tail.tail_tokens) == ({}, len(memory.tail))
        assert tail.left == (("a", 0, memory.writes[0].tokens),)
        with pytest.raises(UsageError, match="cat"):
            choose(memory, match="cat")


def test_what_stays_is_told_without_what_was_forgotten_before(tmp_path: Path, nano: MPlus) -> None:
    with MemoryStore(tmp_path).create("ann", nano) as memory:
        for text in ("The gate is red.", "The dog is old.", "The cat is ill.", "The sky is wide."):
            nano.write(memory, text, source="a", flush=True)
        starts = [(one.start, one.tokens) for one in memory.writes]
        (first, many), (third, few), (_, last) = starts[1], starts[2], starts[3]
        assert choose(memory, "a", []).left == ()
        memory.forget(write=1)
        assert choose(memory, write=3).left == (("a", first, many), ("a", third + few, last))
        assert choose(memory, write=[]).left == (("a", first, many + few + last),)
