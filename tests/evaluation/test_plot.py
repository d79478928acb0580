from pathlib import Path

import pytest

from memplus.errors import StorageError
from memplus.evaluation.plot import draw_recall
from memplus.evaluation.recall import Bin

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
GOOD = [Bin(0, 500, asked=4, right=4), Bin(500, 1000, asked=4, right=3)]
POOR = [Bin(0, 500, asked=4, right=1), Bin(500, 1000, asked=0, right=0)]


def test_draws_a_png(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    draw_recall({"M+": GOOD, "MemoryLLM": POOR}, title="recall", path=path)
    assert path.read_bytes().startswith(PNG_MAGIC)


def test_other_curves_make_another_picture(tmp_path: Path) -> None:
    draw_recall({"M+": GOOD}, title="recall", path=tmp_path / "a.png")
    draw_recall({"M+": POOR}, title="recall", path=tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        draw_recall({"M+": GOOD}, title="recall", path=tmp_path / "absent" / "curve.png")
