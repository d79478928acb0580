"""A memory of another model is refused, and what differs is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import CONFIG, FakeHost

from memplus.errors import MemoryMismatchError
from memplus.store import MemoryStore
from memplus.store.disk import Disk
from memplus.store.folder import Folder
from memplus.store.identity import check_identity, model_name


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (FakeHost(weights=2), "weights"),
        (FakeHost(words="b"), "tokenizer"),
        (FakeHost(replace(CONFIG, short_term_tokens=16)), "short_term_tokens"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, other: FakeHost, differs: str) -> None:
    with MemoryStore(tmp_path).create("alice", FakeHost()) as memory:
        manifest = memory.keeper.manifest
        folder = Folder(memory.keeper.folder.path, Disk())
    check_identity(manifest, FakeHost(), folder)
    with pytest.raises(MemoryMismatchError, match=differs):
        check_identity(manifest, other, folder)


def test_a_name_that_is_no_text_becomes_one() -> None:
    host = FakeHost()
    host.name = "a\udcff"
    assert model_name(host) == "a?"
