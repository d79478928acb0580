from __future__ import annotations

from memplus.errors import PassFailedError, PositionsError
from memplus.server.engine.failures import told


def test_errors_of_the_library_are_told_as_they_are() -> None:
    error = PositionsError(needed=3, available=2)
    assert told(error) is error


def test_others_are_named_by_their_kind() -> None:
    error = MemoryError("no\n  room.")
    found = told(error)
    assert isinstance(found, PassFailedError)
    assert found.fields["reason"] == "MemoryError: no room"
    assert found.__cause__ is error
    assert told(ValueError()).fields["reason"] == "ValueError"
    assert len(str(told(ValueError("x" * 1000)))) < 600
