from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memplus.cli.main import main


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["serve", "--ray", *arguments])
    return int(str(end.value.code))


def test_what_cannot_be_started_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--store", str(tmp_path))
    assert ran("--replicas", "3", "--max-replicas", "2", *place) == 2
    assert "max_replicas" in capsys.readouterr().err
    assert ran("--host", "0.0.0.0", *place) == 2
    said = capsys.readouterr().err
    assert f"Memories: {tmp_path} (0 present)." in said
    assert "memplus keys add" in said


def test_without_the_extra_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "memplus.server.ray.running", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ran("--store", str(tmp_path)) == 2
    assert "memplus[ray]" in capsys.readouterr().err
