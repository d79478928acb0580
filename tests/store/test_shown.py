"""What a memory of a store shows of itself, open and closed."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from tests.fakes import make_mplus, some_ids

from memplus.errors import UsageError
from memplus.store import MemoryStore


def test_a_closed_memory_tells_its_name_and_numbers(tmp_path: Path) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path)
    with store.create("ana", model) as memory:
        model.write(memory, some_ids(30).tolist())
        assert (memory.id, memory.closed) == ("ana", False)
        assert "short_term" in repr(memory)
        held = memory.nbytes
    assert (memory.id, memory.closed, memory.nbytes) == ("ana", True, held)
    assert "closed" in repr(memory)
    assert "short_term" not in repr(memory)


def test_it_is_not_pickled_and_says_what_to_do(tmp_path: Path) -> None:
    model = make_mplus()
    with MemoryStore(tmp_path).create("ana", model) as memory:
        with pytest.raises(UsageError, match="open it in the other process"):
            pickle.dumps(memory)
        assert copy.copy(memory) is not memory
