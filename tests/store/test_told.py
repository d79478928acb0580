from __future__ import annotations

from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost

from memplus.errors import ConfigError, UnknownMemoryError
from memplus.store import MemoryStore

HOST = FakeHost()


def test_texts_are_told_without_the_model_and_what_is_gone_is_left_out(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    for name in ("bob", "alice"):
        with store.create(name, HOST) as memory:
            HOST.write(memory, [[1, 2, 3, 4], [5, 6, 7, 8]], "a")
    with store.open("alice", HOST, write=True) as memory:
        whole = memory.texts()
        first, second = sorted(whole)[:2]
        memory.forget(write=first)
    assert store.texts("alice", [first, second, 99]) == {second: whole[second]}
    assert store.texts("bob", []) == {}
    with pytest.raises(UnknownMemoryError):
        store.texts("carol", [1])


def test_labels_are_told_without_the_model(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    with store.create("ann", HOST) as memory:
        for label in ("one", "two"):
            with memory.labelled(label):
                HOST.write(memory, [[1, 2, 3, 4]], "a")
    assert store.held_labels("ann", ["two", "three", "two"]) == {"two"}
    assert store.held_labels("ann", []) == set()
    assert store.has_label("ann", "one")
    assert [one.what for one in store.history("ann")] == ["create", "write one", "write two"]
    with pytest.raises(ConfigError):
        store.held_labels("ann", ["two words"])
    with pytest.raises(UnknownMemoryError):
        store.held_labels("bob", ["one"])
