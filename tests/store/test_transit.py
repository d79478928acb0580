"""A move that was cut short is ended by whoever looks, and by nobody who cannot know."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from memplus.store.disk import Disk
from memplus.store.transit import ARRIVING, FROM, MOVED, TO, Note, abandoned, end_move, identity

HASH = "ab" * 20


def half_moved(
    path: Path, *, switched: bool = True, number: str = "1", known: bool = True
) -> tuple[Path, Path]:
    """Two directories as a move leaves them that is cut short around its one step.

    Args:
        path: where they lie.
        switched: whether the step was taken.
        number: of the move that the copy is of; that of the other folder is 1.
        known: whether the notes hold identities, as they did not at first.
    """
    one, two = path / "one", path / "two"
    left = one / "memories" / (f"{MOVED}{HASH}" if switched else HASH)
    arriving = two / "memories" / f"{ARRIVING}{HASH}"
    for folder in (left, arriving):
        folder.mkdir(parents=True)
        (folder / "manifest").write_bytes(folder.parents[1].name.encode())
    ids = [identity(store, Disk()) if known else None for store in (one, two)]
    Note(str(two), "1", ids[1]).save(left, TO, Disk())
    Note(str(one), number, ids[0]).save(arriving, FROM, Disk())
    return one, two


def seen(store: Path) -> list[str]:
    return sorted(entry.name for entry in (store / "memories").iterdir())


def arrived(path: Path, *, known: bool = True) -> tuple[Path, Path]:
    """The same, cut short after the copy got its name."""
    one, two = half_moved(path, known=known)
    (two / "memories" / f"{ARRIVING}{HASH}").rename(two / "memories" / HASH)
    return one, two


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("asked", ["one", "two"])
def test_after_its_one_step_a_move_is_ended_from_either_side(
    tmp_path: Path, asked: str, known: bool
) -> None:
    one, two = half_moved(tmp_path, known=known)
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


@pytest.mark.parametrize("known", [True, False])
def test_what_has_arrived_ends_its_move_and_is_marked_no_longer(
    tmp_path: Path, known: bool
) -> None:
    one, two = arrived(tmp_path, known=known)
    end_move(two, HASH, Disk())
    assert (seen(one), seen(two)) == ([], [HASH])
    assert os.listdir(two / "memories" / HASH) == ["manifest"]


def test_what_has_arrived_takes_nothing_from_a_later_move(tmp_path: Path) -> None:
    one, two = arrived(tmp_path)
    Note(str(tmp_path / "three"), "2", "?").save(one / "memories" / f"{MOVED}{HASH}", TO, Disk())
    end_move(two, HASH, Disk())
    assert (seen(one), seen(two)) == ([f"{MOVED}{HASH}"], [HASH])
    assert os.listdir(two / "memories" / HASH) == ["manifest"]


def test_what_has_arrived_is_marked_until_where_it_came_from_can_be_reached(tmp_path: Path) -> None:
    one, two = arrived(tmp_path)
    one.rename(tmp_path / "not mounted")
    (one / "memories").mkdir(parents=True)
    identity(one, Disk())
    end_move(two, HASH, Disk())
    assert (two / "memories" / HASH / FROM).is_file()
    one.rename(tmp_path / "another")
    (tmp_path / "not mounted").rename(one)
    end_move(two, HASH, Disk())
    assert (seen(one), seen(two)) == ([], [HASH])


def test_what_arrived_and_was_deleted_leaves_nothing_where_it_came_from(tmp_path: Path) -> None:
    one, two = arrived(tmp_path / "a")
    shutil.rmtree(two / "memories" / HASH)
    end_move(one, HASH, Disk())
    assert (seen(one), seen(two)) == ([], [])
    one, two = arrived(tmp_path / "b", known=False)  # nobody can say that this is the directory
    shutil.rmtree(two / "memories" / HASH)
    end_move(one, HASH, Disk())
    assert (seen(one), seen(two)) == ([f"{MOVED}{HASH}"], [])


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
    (one / "memories").mkdir(parents=True)  # another disk, where it was
    assert not abandoned(two, HASH)
    identity(one, Disk())
    assert not abandoned(two, HASH)
    _, two = half_moved(tmp_path / "b")
    assert not abandoned(two, HASH)
    _, two = half_moved(tmp_path / "c", number="2")
    assert abandoned(two, HASH)


@pytest.mark.parametrize("known", [True, False])
def test_another_directory_in_the_place_of_the_target_takes_nothing_away(
    tmp_path: Path, known: bool
) -> None:
    one, two = half_moved(tmp_path, known=known)
    two.rename(tmp_path / "elsewhere")
    (two / "memories").mkdir(parents=True)
    end_move(one, HASH, Disk())
    assert seen(one) == [f"{MOVED}{HASH}"]
    identity(two, Disk())
    (two / "memories" / HASH).mkdir()
    if known:
        end_move(one, HASH, Disk())
        assert seen(one) == [f"{MOVED}{HASH}"]


def test_a_directory_keeps_the_identity_that_it_got(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = identity(tmp_path / "one", Disk())
    assert identity(tmp_path / "one", Disk()) == first
    assert identity(tmp_path / "two", Disk()) != first
    assert os.listdir(tmp_path / "one") == ["identity"]


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
