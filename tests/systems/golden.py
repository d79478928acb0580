"""Where the golden numbers of the systems lie, which are no part of the repository."""

from pathlib import Path

import pytest
from tests.golden.recorded import named_golden

_BESIDE = Path(__file__).parents[3] / "shared" / "relatives" / "golden"


def golden_folder(name: str) -> Path:
    """The folder of one system's golden numbers; the test is skipped where there is none."""
    folder = (named_golden() or _BESIDE) / name
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}; MEMPLUS_GOLDEN names their folder")
    return folder


def golden_files(name: str) -> list[Path]:
    """One system's golden cases: what says their sizes; none where there is no folder."""
    try:
        return sorted(golden_folder(name).glob("*.json"))
    except pytest.skip.Exception:
        return []
