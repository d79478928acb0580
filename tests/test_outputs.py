"""Files of results: whole or not at all, under the name that was asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from memplus.errors import ConfigError, MemplusError, NotFoundError, UsageError
from memplus.outputs import put_text, save_picture


def test_a_text_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    put_text(path, "first")
    put_text(path, "sëcond")
    assert path.read_text(encoding="utf-8") == "sëcond"
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_that_cannot_be_put_in_its_place_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "page.md").mkdir()
    with pytest.raises(MemplusError):
        put_text(tmp_path / "page.md", "text")
    assert [one.name for one in tmp_path.iterdir()] == ["page.md"]
    with pytest.raises(NotFoundError):
        put_text(tmp_path / "absent" / "page.md", "text")


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("old")
    (tmp_path / "link.md").symlink_to(tmp_path / "real.md")
    put_text(tmp_path / "link.md", "new")
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "real.md").read_text() == "new"


def test_a_text_takes_no_pipes_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(UsageError, match=f"{name} is no regular file"):
            put_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("name", "begins"), [("plot.png", b"\x89PNG"), ("plot", b"\x89PNG"), ("plot.SVG", b"<?xml")]
)
def test_a_picture_has_exactly_the_name_that_was_asked_for(
    tmp_path: Path, name: str, begins: bytes
) -> None:
    save_picture(Figure(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_suffix_of_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plot\.docx.*png"):
        save_picture(Figure(), tmp_path / "plot.docx")
    with pytest.raises(NotFoundError):
        save_picture(Figure(), tmp_path / "absent" / "plot.png")
