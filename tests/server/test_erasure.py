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
        assert written.parts == (("a", 0, memory.writes[0].tokens),)
        assert [one.text for one in written.texts.values()] == ["The gate is red."]
        assert written.tail_tokens == 0
        assert (tail.texts, tail.parts) == ({}, (("b", 0, len(memory.tail)),))
        with pytest.raises(UsageError, match="cat"):
            choose(memory, match="cat")
