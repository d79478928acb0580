"""What version 1 wrote is read by this and every later release."""

from __future__ import annotations

from pathlib import Path

from tests.store.fakes import FakeHost, contents
from tests.store.test_changes import story

from memplus.store import MemoryStore

FILE = Path(__file__).parent / "version1.zip"
"""``story`` of ``test_changes.py``, exported by version 1; never made anew."""


def test_a_memory_of_version_1_is_what_it_was(tmp_path: Path) -> None:
    host = FakeHost()
    plain = host.new_memory(seed=1)
    story(host, plain)
    store = MemoryStore(tmp_path / "s")
    store.import_memory(FILE)
    with store.open("alice", host, write=True) as memory:
        assert contents(memory) == contents(plain)
        assert memory.texts()[2].text == "word100 word101 word102 word103 "
        for one in (memory, plain):
            story(host, one)
        assert contents(memory) == contents(plain)
    store.verify("alice")
