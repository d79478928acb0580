"""The manifest: what it says comes back, what does not fit together is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.store.disk import Disk
from memplus.store.manifest import (
    NAME,
    VERSION,
    Generation,
    LogPart,
    Manifest,
    SegmentEntry,
    _digest,
)


def name(kind: str, number: int = 0) -> str:
    return f"{kind}-{number:016x}"


MANIFEST = Manifest(
    id="alice é",
    model="m",
    fingerprint="f",
    identity={"weights": "1"},
    config={},
    journal=name("journal"),
    created=1.5,
    changed=2.5,
    commit=7,
    writes=9,
    tokens=100,
    waiting=3,
    log_open=True,
    segments=[SegmentEntry(name("segment", 1), [3, 4]), SegmentEntry(name("segment", 2), [0, 2])],
    generations=[
        Generation(name("snapshot", 1), []),
        Generation(name("snapshot", 2), [3, 4], [LogPart(name("log", 1), 640)]),
        Generation(name("snapshot", 3), [3, 6], [LogPart(name("log", 2), 64)]),
    ],
)


def saved(folder: Path, change: Any = None, version: int = VERSION) -> Manifest:
    """Written with a change to its JSON and a right digest, and loaded again."""
    content = json.loads(MANIFEST.content().partition(b"\n")[2])
    if change is not None:
        change(content)
    body = json.dumps(content).encode()
    line = f"memplus-memory {version} {_digest(version, body)}\n".encode()
    (folder / NAME).write_bytes(line + body)
    return Manifest.load(folder)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    odd = replace(MANIFEST, model="caf\udce9")
    for one in (MANIFEST, odd):
        one.save(tmp_path, Disk())
        assert Manifest.load(tmp_path) == one
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert MANIFEST.current.logged == 64
    assert len(MANIFEST.files()) == 1 + 2 + 3 + 2


def test_version_1_is_read(tmp_path: Path) -> None:
    assert saved(tmp_path, version=1) == MANIFEST
    for version in (0, VERSION + 1, 10**7):
        with pytest.raises(MemoryVersionError):
            saved(tmp_path, version=version)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c["segments"][0].update(rows=[-5, 4]), r"segments\.0\.rows\.0 is -5"),
        (lambda c: c["segments"][0].update(rows=[10**15, 4]), r"segments\.0\.rows\.0"),
        (lambda c: c["segments"][1].update(rows=[5]), r"segments\.1\.rows has not 2 layers"),
        (lambda c: c["segments"][0].update(name="../../store"), r"segments\.0\.name"),
        (lambda c: c["segments"][0].update(name=name("log")), r"segments\.0\.name"),
        (lambda c: c["generations"][2].update(physical=[3, 5]), "physical is"),
        (lambda c: c["generations"][1].update(physical=[4, 4]), r"generations\.1\.physical counts"),
        (lambda c: c["generations"][1].update(physical=[3]), r"generations\.1\.physical has 1"),
        (lambda c: c["generations"][2]["logs"][0].update(length=10**15), r"logs\.0\.length"),
        (lambda c: c.update(generations=[]), "generations"),
        (lambda c: c.update(writes="x"), "writes is 'x'"),
        (lambda c: c.update(writes=2**31), "writes is 2147483648"),
        (lambda c: c.update(config=5), "config is 5"),
        (lambda c: c.update(identity=[]), "identity"),
        (lambda c: c.update(identity={"weights": 1}), r"identity\.weights is 1"),
        (lambda c: c.update(journal="journal"), "journal is 'journal'"),
        (lambda c: c.update(rows="int3"), "rows is 'int3'"),
        (lambda c: c.update(changed=float("nan")), "changed is nan"),
        (lambda c: c.update(more=1), "more is not a known field"),
        (lambda c: c.pop("tokens"), "tokens is missing"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, change: Any, named: str) -> None:
    with pytest.raises(CorruptMemoryError, match=named):
        saved(tmp_path, change)
