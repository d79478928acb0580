"""A move that was cut short is ended by whoever looks, and by nobody who cannot know."""

from __future__ import annotations

from pathlib import Path

import pytest

from memplus.store.disk import Disk
from memplus.store.transit import ARRIVING, FROM, MOVED, TO, abandoned, end_move, note

HASH = "ab" * 20


def half_moved(path: Path, *, switched: bool = True, number: str = "1") -> tuple[Path, Path]:
    """Two directories as a move leaves them that is cut short around its one step."""
    one, two = path / "one", path / "two"
    left = one / "memories" / (f"{MOVED}{HASH}" if switched else HASH)
    arriving = two / "memories" / f"{ARRIVING}{HASH}"
    for folder in (left, arriving):
        folder.mkdir(parents=True)
        (folder / "manifest").write_bytes(folder.parents[1].name.encode())
    note(left, TO, two, "1", Disk())
    note(arriving, FROM, one, number, Disk())
    return one, two


def seen(store: Path) -> list[str]:
    return sorted(entry.name for entry in (store / "memories").iterdir())


@pytest.mark.parametrize("asked", ["one", "two"])
def test_after_its_one_step_a_move_is_ended_from_either_side(tmp_path: Path, asked: str) -> None:
    one, two = half_moved(tmp_path)
    for _ in range(2):
        end_move(tmp_path / asked, HASH, Disk())
        assert (seen(one), seen(two)) == ([], [HASH])
    assert (two / "memories" / HASH / "manifest").read_bytes() == b"two"


@pytest.mark.parametrize("asked", ["one", "two"])
def test_before_its_one_step_the_memory_stays(tmp_path: Path, asked: str) -> None:
    one, two = half_moved(tmp_path, switched=False)
    end_move(tmp_path / asked, HASH, Disk())
    assert (seen(one), seen(two)) == ([HASH], [f"{ARRIVING}{HASH}"])


def test_the_copy_of_another_move_is_not_taken_for_the_memory(tmp_path: Path) -> None:
    one, two = half_moved(tmp_path, number="2")
    (two / "memories" / HASH).mkdir()  # the one that arrived
    end_move(two, HASH, Disk())
    assert (seen(one), seen(two)) == ([], sorted([f"{ARRIVING}{HASH}", HASH]))


def test_what_cannot_be_reached_is_left(tmp_path: Path) -> None:
    one, two = half_moved(tmp_path)
    two.rename(tmp_path / "not mounted")
    end_move(one, HASH, Disk())
    assert seen(one) == [f"{MOVED}{HASH}"]
    (tmp_path / "not mounted").rename(two)
    one.rename(tmp_path / "not mounted")
    end_move(two, HASH, Disk())
    assert seen(two) == [f"{ARRIVING}{HASH}"]


def test_a_copy_is_abandoned_only_if_where_it_comes_from_says_so(tmp_path: Path) -> None:
    one, two = half_moved(tmp_path / "a", switched=False)
    assert abandoned(two, HASH)
    one.rename(tmp_path / "not mounted")
    assert not abandoned(two, HASH)
    _, two = half_moved(tmp_path / "b")
    assert not abandoned(two, HASH)
    _, two = half_moved(tmp_path / "c", number="2")
    assert abandoned(two, HASH)


def test_another_directory_in_the_place_of_the_target_takes_nothing_away(tmp_path: Path) -> None:
    one, two = half_moved(tmp_path)
    two.rename(tmp_path / "elsewhere")
    (two / "memories").mkdir(parents=True)
    end_move(one, HASH, Disk())
    assert seen(one) == [f"{MOVED}{HASH}"]


def test_notes_that_say_nothing_end_nothing(tmp_path: Path) -> None:
    one, two = half_moved(tmp_path)
    for file in (
        one / "memories" / f"{MOVED}{HASH}" / TO,
        two / "memories" / f"{ARRIVING}{HASH}" / FROM,
    ):
        file.write_bytes(b"[]")
    for store in (one, two):
        end_move(store, HASH, Disk())
    assert (seen(one), seen(two)) == ([f"{MOVED}{HASH}"], [f"{ARRIVING}{HASH}"])
