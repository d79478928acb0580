"""The user's own store, and names completed without a model library."""

import subprocess
import sys
from pathlib import Path

import pytest

from memplus.cli.standard import complete_id, default_store


def manifest(store: Path, folder: str, content: str) -> None:
    place = store / "memories" / folder
    place.mkdir(parents=True)
    (place / "manifest").write_text(content)


def test_names_are_completed_from_the_own_store_and_damage_is_left_out(own_store: Path) -> None:
    assert default_store() == own_store
    assert complete_id("") == []
    manifest(own_store, "1", 'memplus-memory 1 0\n{"id": "bob"}')
    manifest(own_store, "2", 'memplus-memory 1 0\n{"id": "alice"}')
    manifest(own_store, "3", "memplus-memory 1 0\n{")
    assert complete_id("") == ["alice", "bob"]
    assert complete_id("al") == ["alice"]


def test_the_environment_names_another_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMPLUS_STORE", str(tmp_path / "s"))
    manifest(tmp_path / "s", "1", 'x\n{"id": "carol"}')
    assert complete_id("") == ["carol"]


def test_names_of_a_real_store_are_found(own_store: Path, run: object, tiny: Path) -> None:
    assert callable(run)
    run("memories", "create", "dora", "--model", tiny)
    assert complete_id("d") == ["dora"]


def test_it_loads_no_model_library() -> None:
    code = "import sys, memplus.cli.standard; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
