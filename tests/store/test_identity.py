"""A memory of another model is refused, and what differs is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import CONFIG, SPANS, FakeHost

from memplus.errors import MemoryMismatchError
from memplus.store import MemoryStore
from memplus.store.disk import Disk
from memplus.store.folder import Folder
from memplus.store.identity import check_identity, model_name, same_weights


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (FakeHost(weights=2), "weights"),
        (FakeHost(words="b"), "tokenizer"),
        (FakeHost(replace(CONFIG, short_term_tokens=16)), "short_term_tokens"),
        (FakeHost(replace(CONFIG, retrieved_tokens=0)), "retrieved_tokens"),
        (FakeHost(replace(CONFIG, retrieved_tokens=16), weights=2), "weights"),
        (FakeHost(SPANS), "retrieval"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, other: FakeHost, differs: str) -> None:
    with MemoryStore(tmp_path).create("alice", FakeHost()) as memory:
        manifest = memory.keeper.manifest
        folder = Folder(memory.keeper.folder.path, Disk())
    check_identity(manifest, FakeHost(), folder)
    with pytest.raises(MemoryMismatchError, match=differs):
        check_identity(manifest, other, folder)


def test_the_same_weights_may_retrieve_more_rows_of_it(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path)
    store.create("alice", FakeHost()).close()
    more = FakeHost(replace(CONFIG, retrieved_tokens=2 * CONFIG.retrieved_tokens))
    with store.open("alice", more) as memory:
        manifest = memory.keeper.manifest
        assert memory.config == more.memory_config
        assert same_weights(manifest, more)
    other = FakeHost(more.memory_config, weights=2)
    assert not same_weights(manifest, other)


def test_a_name_that_is_no_text_becomes_one() -> None:
    host = FakeHost()
    host.name = "a\udcff"
    assert model_name(host) == "a?"
