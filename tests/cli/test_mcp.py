from __future__ import annotations

from pathlib import Path

import pytest

from memplus.cli.main import main


def test_only_needs_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mcp", "--store", str(tmp_path), "--only"])
    assert ended.value.code == 2
    assert "--memory-name" in capsys.readouterr().err


def test_a_tenant_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mcp", "--store", str(tmp_path), "--tenant", "a/b"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "tenant" in said.err
    assert said.out == "", "standard output belongs to the protocol"
