"""Two commands that change one memory file at the same time lose nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.warm import python

from memplus.files import locked


def begun(*arguments: object) -> subprocess.Popen[bytes]:
    command = [*python(), "-m", "memplus.cli.main", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in made:
        path.write_text(f"the {path.stem} text " * 9)
    return made


def test_two_writers_of_one_file_lose_nothing(
    run: Run, tmp_path: Path, tiny: Path, texts: list[Path]
) -> None:
    memory = tmp_path / "f.memory"
    common = ["--memory", memory, "--model", tiny, "--flush"]
    running = [begun("write", text, *common, "--wait", 100) for text in texts]
    assert [process.wait(120) for process in running] == [0, 0]
    held = run("inspect", "--memory", memory, "--model", tiny, "--json").data
    assert {one["source"] for one in held["sources"]} == {str(text) for text in texts}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "f.memory"]


def test_a_second_writer_that_does_not_wait_is_refused(
    run: Run, tmp_path: Path, tiny: Path, texts: list[Path]
) -> None:
    memory = tmp_path / "f.memory"
    for command in (["write", texts[0]], ["chat"]):
        with locked(memory):
            ran = run(*command, "--memory", memory, "--model", tiny)
        assert ran.code == 1
        assert "is being written to by somebody else" in ran.err
        assert "--wait" in ran.err
    assert not memory.exists()
