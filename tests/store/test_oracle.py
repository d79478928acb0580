"""Any order of creating, writing, forking, going back, forgetting and opening again.

Beside the store stands a plain dictionary of memories without any store. Whatever is done to both,
every memory of the store is the one of the dictionary, and holds no row of another's.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from tests.store.fakes import SMALL, FakeHost, contents

from memplus.errors import HistoryError, UnknownSourceError
from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory

HOST = FakeHost()
SOURCES = st.sampled_from(["a", "b", "c"])


class Expected:
    """A memory and the states it can go back to."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.states = [memory.fork()]

    def keep(self) -> None:
        self.states.append(self.memory.fork())

    def twin(self) -> Expected:
        made = Expected(self.memory.fork())
        made.states = list(self.states)
        return made


class StoreMachine(RuleBasedStateMachine):
    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = MemoryStore(self.folder / "s", limits=SMALL)
        self.expected: dict[str, Expected] = {}
        self.open: dict[str, StoredMemory] = {}
        self.count = 0
        self.token = 0

    def teardown(self) -> None:
        for memory in self.open.values():
            memory.close()
        shutil.rmtree(self.folder)

    def _name(self) -> str:
        self.count += 1
        return f"memory {self.count}"

    @rule(target=names, seed=st.integers(0, 3))
    def create(self, seed: int) -> str:
        name = self._name()
        self.open[name] = self.store.create(name, HOST, seed=seed)
        self.expected[name] = Expected(HOST.new_memory(seed=seed))
        return name

    @rule(name=names, count=st.integers(0, 9), source=SOURCES, tail=st.integers(0, 3))
    def write(self, name: str, count: int, source: str, tail: int) -> None:
        chunks: list[list[int]] = []
        for _ in range(count):
            chunks.append([self.token + j for j in range(4)])  # no two memories share a token
            self.token += 4
        expected = self.expected[name]
        for memory in (self.open[name], expected.memory):
            HOST.write(memory, chunks, source, range(tail))
        expected.keep()

    @rule(name=names)
    def open_again(self, name: str) -> None:
        self.open[name].close()
        self.open[name] = self.store.open(name, HOST, write=True)

    @rule(target=names, name=names)
    def fork(self, name: str) -> str:
        new = self._name()
        self.store.fork(name, new)
        self.open[new] = self.store.open(new, HOST, write=True)
        self.expected[new] = self.expected[name].twin()
        return new

    @rule(name=names, which=st.integers(0, 99))
    def go_back(self, name: str, which: int) -> None:
        expected = self.expected[name]
        target = len(expected.states[which % len(expected.states)].writes)
        last = max(i for i, one in enumerate(expected.states) if len(one.writes) == target)
        self.open[name].rollback(target)
        del expected.states[last + 1 :]
        expected.memory = expected.states[last].fork()

    @rule(name=names)
    def go_too_far(self, name: str) -> None:
        with pytest.raises(HistoryError):
            self.open[name].rollback(10_000)

    @rule(name=names, source=SOURCES)
    def forget(self, name: str, source: str) -> None:
        expected = self.expected[name]
        if not self._knows(name, source):
            with pytest.raises(UnknownSourceError):
                self.open[name].forget(source=source)
            return
        self.open[name].forget(source=source)
        expected.memory.forget(source=source)
        expected.states = [expected.memory.fork()]

    def _knows(self, name: str, source: str) -> bool:
        memory = self.expected[name].memory
        known = {record.source for record in memory.writes if record.tokens}
        return source in known or bool(memory.tail and memory.tail_source == source)

    @rule(name=names, source=SOURCES)
    def rebuild(self, name: str, source: str) -> None:
        expected, memory = self.expected[name], self.open[name]
        told = [one for one in memory.texts().values() if one.source != source]
        if not self._knows(name, source):
            return
        memory.forget(source=source, rebuild=True)
        made = HOST.new_memory(seed=expected.memory.seed)
        for one in told:
            HOST.write(made, [one.ids], one.source)
        old = expected.memory
        if old.tail_source != source:
            made.tail, made.tail_source, made.tail_text = old.tail, old.tail_source, old.tail_text
        self.expected[name] = Expected(made)

    @rule(name=consumes(names))
    def delete(self, name: str) -> None:
        self.open.pop(name).close()
        self.store.delete(name)
        del self.expected[name]

    @rule(name=names)
    def move(self, name: str) -> None:
        self.store.export(name, self.folder / "moved.zip")
        self.open[name].close()
        self.store.delete(name)
        self.store.import_memory(self.folder / "moved.zip")
        self.open[name] = self.store.open(name, HOST, write=True)
        self.expected[name].states = self.expected[name].states[-1:]

    @invariant()
    def every_memory_is_as_expected(self) -> None:
        assert [one.id for one in self.store.memories()] == sorted(self.expected)
        for name, expected in self.expected.items():
            memory = self.open[name]
            assert contents(memory) == contents(expected.memory)
            assert [c.writes for c in memory.history()][-1] == len(expected.memory.writes)
            told = {i for i, one in enumerate(memory.writes, 1) if one.tokens}
            assert memory.texts().keys() == told


StoreMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestStore = StoreMachine.TestCase
