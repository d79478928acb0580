from __future__ import annotations

import pytest
from tests.fakes import make_mplus

from memplus.errors import BudgetError
from memplus.server.room import has_room

TEXT = "the road went down to the sea and nobody walked there " * 4


@pytest.mark.parametrize("texts", [[TEXT], [TEXT] * 3, ["x", TEXT]])
def test_there_is_room_exactly_for_what_a_write_would_take(texts: list[str]) -> None:
    model = make_mplus()
    written = model.new_memory()
    model.write(written, "".join(texts), source="s")
    needed = written.nbytes
    for most in (needed // 2, needed, 4 * needed):
        memory = model.new_memory(max_bytes=most)
        expected = True
        try:
            model.write(memory.fork(), "".join(texts), source="s")
        except BudgetError:
            expected = False
        assert has_room(model, memory, texts, "s") == expected
        assert not memory.writes
        assert not memory.tail
    assert not has_room(model, model.new_memory(max_bytes=needed // 2), texts, "s")


def test_without_a_limit_or_a_text_there_is_room() -> None:
    model = make_mplus()
    assert has_room(model, model.new_memory(), [TEXT], "s")
    assert has_room(model, model.new_memory(max_bytes=1), [], "s")
