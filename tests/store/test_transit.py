"""A move that was cut short is ended by whoever looks, and by nobody who cannot know."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from memplus.store.disk import Disk
from memplus.store.transit import (
    ARRIVING,
    FROM,
    MOVED,
    TO,
    Note,
    clear_copy,
    end_move,
    leave,
    recall,
)

HASH = "ab" * 20
DISK = Disk()


def begun(path: Path, *, number: str = "1", known: bool = True) -> tuple[Path, Path]:
    """Two directories as a move leaves them that is cut short before its one step.

    Args:
        path: where they lie.
        number: of the move.
        known: whether the notes say where they lie, which they did not at first.
    """
    one, two = path / "one", path / "two"
    here, arriving = one / "memories" / HASH, two / "memories" / f"{ARRIVING}{HASH}"
    for folder in (here, arriving):
        folder.mkdir(parents=True)
        (folder / "manifest").write_bytes(folder.parents[1].name.encode())
    ends = (str(one), str(two)) if known else (None, None)
    Note(str(two), number, ends[0]).save(here, TO, DISK)
    Note(str(one), number, ends[1]).save(arriving, FROM, DISK)
    return one, two


def switched(path: Path, *, known: bool = True) -> tuple[Path, Path]:
    """The same, cut short after its one step."""
    one, two = begun(path, known=known)
    (one / "memories" / HASH).rename(one / "memories" / f"{MOVED}{HASH}")
    return one, two


def arrived(path: Path, *, known: bool = True) -> tuple[Path, Path]:
    """The same, cut short after the copy got its name."""
    one, two = switched(path, known=known)
    (two / "memories" / f"{ARRIVING}{HASH}").rename(two / "memories" / HASH)
    return one, two


def deleted(store: Path) -> None:
    """As a store deletes its memory."""
    leave(store / "memories" / HASH, DISK)
    shutil.rmtree(store / "memories" / HASH)


def away(store: Path) -> Path:
    """Out of reach, and another directory in its place."""
    elsewhere = store.with_name(f"{store.name} elsewhere")
    store.rename(elsewhere)
    (store / "memories").mkdir(parents=True)
    return elsewhere


def back(elsewhere: Path, store: Path) -> None:
    shutil.rmtree(store)
    elsewhere.rename(store)


def seen(store: Path) -> list[str]:
    return sorted(entry.name for entry in (store / "memories").iterdir())


def everywhere(*stores: Path) -> None:
    """All that is ever done of itself, in every directory."""
    for store in stores:
        end_move(store, HASH, DISK)
        recall(store, HASH, DISK)
        clear_copy(store, HASH, DISK)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("asked", ["one", "two"])
def test_after_its_one_step_a_move_is_ended_from_either_side(
    tmp_path: Path, asked: str, known: bool
) -> None:
    one, two = switched(tmp_path, known=known)
    for _ in range(2):
        end_move(tmp_path / asked, HASH, DISK)
        assert (seen(one), seen(two)) == ([], [HASH])
    assert (two / "memories" / HASH / "manifest").read_bytes() == b"two"
    assert os.listdir(two / "memories" / HASH) == ["manifest"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("asked", ["one", "two"])
def test_what_has_arrived_ends_its_move_and_is_marked_no_longer(
    tmp_path: Path, asked: str, known: bool
) -> None:
    one, two = arrived(tmp_path, known=known)
    end_move(tmp_path / asked, HASH, DISK)
    assert (seen(one), seen(two)) == ([], [HASH])
    assert os.listdir(two / "memories" / HASH) == ["manifest"]


@pytest.mark.parametrize("asked", ["one", "two"])
def test_before_its_one_step_the_memory_stays_and_the_copy_goes(tmp_path: Path, asked: str) -> None:
    one, two = begun(tmp_path)
    end_move(tmp_path / asked, HASH, DISK)
    assert (seen(one), seen(two)) == ([HASH], [f"{ARRIVING}{HASH}"])
    (recall if asked == "one" else clear_copy)(tmp_path / asked, HASH, DISK)
    assert (seen(one), seen(two)) == ([HASH], [])
    assert os.listdir(one / "memories" / HASH) == ["manifest"]


@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.parametrize("state", [begun, switched, arrived])
def test_nothing_follows_from_a_directory_that_is_another_today(
    tmp_path: Path, which: str, state: object
) -> None:
    one, two = state(tmp_path)  # type: ignore[operator]
    before = seen(one), seen(two)
    elsewhere = away(tmp_path / which)
    everywhere(one, two)
    back(elsewhere, tmp_path / which)
    assert (seen(one), seen(two)) == before
    everywhere(one, two)
    there = one if state is begun else two
    assert (seen(one), seen(two)) == (([HASH], []) if there is one else ([], [HASH]))
    assert os.listdir(there / "memories" / HASH) == ["manifest"]


@pytest.mark.parametrize("state", [switched, arrived])
def test_a_directory_that_is_put_back_from_a_backup_takes_nothing_away(
    tmp_path: Path, state: object
) -> None:
    one, two = state(tmp_path)  # type: ignore[operator]
    shutil.rmtree(two)
    (two / "memories").mkdir(parents=True)
    everywhere(one, two)
    assert seen(one) == [f"{MOVED}{HASH}"]


@pytest.mark.parametrize("state", [begun, switched, arrived])
@pytest.mark.parametrize("which", ["one", "two"])
def test_a_copy_of_a_directory_takes_no_part(tmp_path: Path, which: str, state: object) -> None:
    one, two = state(tmp_path)  # type: ignore[operator]
    before = seen(one), seen(two)
    shutil.copytree(tmp_path / which, tmp_path / "copy")
    everywhere(tmp_path / "copy")
    assert (seen(one), seen(two)) == before
    assert seen(tmp_path / "copy") == seen(tmp_path / which)


def test_what_arrived_and_was_deleted_leaves_nothing_where_it_came_from(tmp_path: Path) -> None:
    one, two = arrived(tmp_path)
    elsewhere = away(one)
    end_move(two, HASH, DISK)
    deleted(two)
    back(elsewhere, one)
    everywhere(two, one)
    assert (seen(one), seen(two)) == ([], [])


def test_what_stayed_and_was_deleted_leaves_nothing_where_it_was_to_go(tmp_path: Path) -> None:
    one, two = begun(tmp_path)
    elsewhere = away(two)
    recall(one, HASH, DISK)
    deleted(one)
    back(elsewhere, two)
    everywhere(one, two)
    assert (seen(one), seen(two)) == ([], [])


def test_a_copy_of_an_earlier_move_ends_no_later_one(tmp_path: Path) -> None:
    one, two = begun(tmp_path)
    three = tmp_path / "three" / "memories" / f"{ARRIVING}{HASH}"
    three.mkdir(parents=True)
    (two / "memories" / HASH).mkdir()  # a memory of its own
    moved = one / "memories" / f"{MOVED}{HASH}"
    (one / "memories" / HASH).rename(moved)
    Note(str(tmp_path / "three"), "2", str(one)).save(moved, TO, DISK)
    Note(str(one), "2", str(tmp_path / "three")).save(three, FROM, DISK)
    everywhere(two)
    assert seen(one) == [moved.name]
    assert seen(two) == [f"{ARRIVING}{HASH}", HASH]
    everywhere(tmp_path / "three")
    assert (seen(one), seen(tmp_path / "three")) == ([], [HASH])


def test_of_a_later_move_that_came_meanwhile_nothing_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = arrived(tmp_path)
    moved, rename = one / "memories" / f"{MOVED}{HASH}", Disk.rename

    def late(self: Disk, old: Path, new: Path) -> None:
        if old == moved:
            Note(str(tmp_path / "three"), "2", str(one)).save(moved, TO, DISK)
        rename(self, old, new)

    monkeypatch.setattr(Disk, "rename", late)
    end_move(one, HASH, DISK)
    assert seen(one) == [moved.name]


@pytest.mark.parametrize("content", [b"[]", b"", b"\xff", b'{"path": 1}'])
@pytest.mark.parametrize("state", [begun, switched, arrived])
@pytest.mark.parametrize("which", [FROM, TO])
def test_from_a_note_that_says_nothing_nothing_follows(
    tmp_path: Path, which: str, state: object, content: bytes
) -> None:
    one, two = state(tmp_path)  # type: ignore[operator]
    (note,) = tmp_path.rglob(which)
    note.write_bytes(content)
    before = seen(one), seen(two)
    everywhere(one, two, one)
    assert (seen(one), seen(two)) == before
