from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memplus.server.calls import Call, Calls, digest_of, label_of
from memplus.server.database import ServerDatabase


@pytest.fixture
def calls(database: ServerDatabase) -> Calls:
    return Calls(database, days=1)


def call(id: str, start: int = 0, tokens: int = 10, **more: Any) -> Call:
    values: dict[str, Any] = {"source": "s", "metadata": {"id": id}, "writes": (1, 2)} | more
    return Call(id, digest_of(id), start=start, tokens=tokens, **values)


def kept(calls: Calls, stored: str = "ann") -> list[tuple[str, int, int]]:
    return [(one.id, one.start, one.tokens) for one in calls.described(stored, ["s"])]


def test_a_call_is_found_again_as_it_was(calls: Calls) -> None:
    calls.add("ann", call("a"))
    found = calls.get("ann", "a")
    assert found is not None
    assert (found.writes, found.metadata, found.digest) == ((1, 2), {"id": "a"}, digest_of("a"))
    assert calls.get("ann", "b") is None
    assert calls.get("bob", "a") is None


def test_calls_that_wrote_the_same_are_known_again_for_a_while(
    calls: Calls, database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in ("a", "b"):
        calls.add("ann", call(id))
    calls.add("ann", replace(call("a"), id="again"))
    assert [one.id for one in calls.written_lately("ann", digest_of("a"))] == ["again", "a"]
    assert [one.id for one in calls.written_lately("ann", digest_of("b"))] == ["b"]
    assert calls.written_lately("bob", digest_of("b")) == []
    later = database.clock.now() + 601
    monkeypatch.setattr(database.clock, "now", lambda: later)
    assert calls.written_lately("ann", digest_of("b")) == []


def test_calls_without_metadata_go_after_a_while(
    calls: Calls, database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.add("ann", call("plain", metadata={}))
    calls.add("ann", call("named"))
    later = database.clock.now() + 2 * 86_400
    monkeypatch.setattr(database.clock, "now", lambda: later)
    calls.add("ann", call("new"))
    assert calls.get("ann", "plain") is None
    assert calls.get("ann", "named") is not None


def settle(calls: Calls, *left: tuple[str, int, int], anew: bool = False) -> None:
    calls.put("ann", calls.places("ann", left, anew=anew), anew=anew)


def test_what_is_forgotten_goes_where_nothing_of_it_is_left(calls: Calls) -> None:
    for id, start in (("a", 0), ("b", 10), ("c", 20)):
        calls.add("ann", call(id, start))
    settle(calls, ("s", 0, 5), ("s", 15, 15))
    assert kept(calls) == [("a", 0, 10), ("b", 10, 10), ("c", 20, 10)]
    settle(calls, ("s", 0, 5), ("s", 20, 10))
    assert kept(calls) == [("a", 0, 10), ("c", 20, 10)]
    settle(calls, ("s", 20, 10), ("other", 0, 100))
    assert kept(calls) == [("c", 20, 10)]


def test_after_rebuilding_what_is_left_moves_to_the_front_once(calls: Calls) -> None:
    for id, start in (("a", 0), ("b", 10), ("c", 20)):
        calls.add("ann", call(id, start))
    left = [("s", 0, 5), ("s", 15, 15), ("other", 5, 10)]
    places = calls.places("ann", left, anew=True)
    for _ in range(2):  # whoever ends what another began may be the second to do it
        calls.put("ann", places, anew=True)
        assert kept(calls) == [("a", 0, 5), ("b", 5, 5), ("c", 10, 10)]


def test_after_rebuilding_no_call_names_writes_of_others(calls: Calls) -> None:
    for id in ("a", "b"):
        calls.add("ann", replace(call(id, source=id), writes=(3,)))
    left = [("a", 5, 5), ("b", 0, 10)]
    settle(calls, *left)
    assert [one.writes for one in calls.noted("ann")] == [(3,), (3,)]
    settle(calls, *left, anew=True)
    assert [one.writes for one in calls.noted("ann")] == [(), ()]


def test_of_what_was_forgotten_a_clients_key_is_known_and_nothing_else(calls: Calls) -> None:
    key = label_of("4f1c")
    calls.add("ann", call(key))
    settle(calls)
    found = calls.get("ann", key)
    assert found is not None
    assert replace(found, created=0.0) == Call(key, digest_of(key), "", 0, 0, (), {})
    assert [one.id for one in calls.noted("ann")] == [key]
    settle(calls, anew=True)
    assert calls.ids("ann") == [key]


def test_what_came_after_a_state_goes_with_it(calls: Calls) -> None:
    for id, start in (("a", 0), ("b", 10)):
        calls.add("ann", call(id, start))
    calls.add("ann", call("other", source="t"))
    calls.keep("ann", {"a"})
    assert kept(calls) == [("a", 0, 10)]
    assert calls.ids("ann") == ["a"]


def test_a_fork_has_the_calls_and_a_deleted_memory_has_none(calls: Calls) -> None:
    calls.add("ann", call("a"))
    calls.fork("ann", "bob")
    calls.drop("ann")
    assert kept(calls) == []
    assert kept(calls, "bob") == [("a", 0, 10)]


def test_no_text_is_kept(calls: Calls, database: ServerDatabase) -> None:
    calls.add("ann", Call("a", digest_of("the secret"), "s", 0, 10, (1,), {}))
    rows = database.rows("SELECT * FROM calls")
    assert "secret" not in "".join(str(tuple(row)) for row in rows)


def test_labels_of_keys_are_labels_whatever_the_key_is() -> None:
    for key in ("a", "with spaces", "é\ud800\n", "x" * 255):
        assert label_of(key).isprintable()
        assert " " not in label_of(key)
    assert label_of("a") != label_of("b")
    assert digest_of("a", "bc") != digest_of("ab", "c")
