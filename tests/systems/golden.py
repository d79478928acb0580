"""Where the golden numbers of the systems lie, which are no part of the repository."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "relatives" / "golden"
_VARIABLE = "MEMPLUS_GOLDEN"


def golden_folder(name: str) -> Path:
    """The folder of one system's golden numbers; the test is skipped where there is none."""
    named = os.environ.get(_VARIABLE)
    if named and not Path(named).is_dir():
        pytest.fail(f"{_VARIABLE} names {named}, where there is no folder")
    folder = Path(named or _BESIDE) / name
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}; {_VARIABLE} names their folder")
    return folder


def golden_files(name: str) -> list[Path]:
    """One system's golden cases: what says their sizes; none where there is no folder."""
    try:
        return sorted(golden_folder(name).glob("*.json"))
    except pytest.skip.Exception:
        return []
