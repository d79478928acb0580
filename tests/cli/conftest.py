"""A tiny model in a directory, and commands run as a user runs them, in this process."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.fakes import make_mplus

from memplus.cli.main import main
from memplus.cli.standard import default_store
from memplus.mplus.model import MPlus


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """Its one JSON document."""
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Ran]


NOTE = "Marta Velez's locker code is 4821."
QUESTION = "What is Marta Velez's locker code?"


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own store lies in this test; nothing of the real user's is seen."""
    for name in [name for name in os.environ if name.startswith("MEMPLUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return default_store()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory file of the nano that holds one note."""
    path = tmp_path_factory.mktemp("told") / "told.memory"
    model = MPlus.from_pretrained("nano")
    memory = model.new_memory()
    model.write(memory, f" {NOTE}", source="notes.txt")
    memory.save(path)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's directory."""
    path = tmp_path_factory.mktemp("tiny")
    make_mplus().save_pretrained(path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``memplus`` with arguments."""

    def run(*arguments: object) -> Ran:
        code = 0
        try:
            main([str(one) for one in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
