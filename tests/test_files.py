"""Files that are whole or not there, and changed by one process at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from tests.warm import python

from memplus.errors import MemoryBusyError, NotFoundError, StorageError, UsageError
from memplus.files import aside, locked, write_aside


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_takes_its_place_only_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_aside(path, b"old")
    with pytest.raises(KeyError), aside(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise KeyError
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a"])
    with aside(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["a"])


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    others = (".a.notes", ".b.12345678.aside", ".a.87654321.aside", "b.aside")
    for name in (*others, ".a.12345678.aside"):
        (tmp_path / name).touch()
        if name != ".a.87654321.aside":  # perhaps another process is at work on it
            os.utime(tmp_path / name, (0, 0))
    write_aside(tmp_path / "a", b"new")
    assert names(tmp_path) == sorted(["a", *others])


def test_a_refusal_that_a_library_tells_is_a_storage_error(tmp_path: Path) -> None:
    said = "I/O error: No space left on device (os error 28)"
    with pytest.raises(StorageError, match="No space left"), aside(tmp_path / "a"):
        raise RuntimeError(said)
    assert names(tmp_path) == []


def test_a_new_file_has_the_rights_that_the_user_asks_for(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_aside(tmp_path / "a", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_what_the_disk_refuses_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "a", tmp_path / "folder"):
        with pytest.raises((UsageError, StorageError)):
            write_aside(path, b"")
    with pytest.raises(NotFoundError, match="no folder"), locked(tmp_path / "no" / "a"):
        raise AssertionError("there is no folder to lock in")
    with pytest.raises(StorageError), locked(tmp_path / ("a" * 255)):
        raise AssertionError("the lock's name is too long for the file system")
    assert names(tmp_path) == ["folder"]


def test_a_second_holder_is_refused_or_waits(tmp_path: Path) -> None:
    path = tmp_path / "a"
    entered, leave, order = threading.Event(), threading.Event(), []

    def hold() -> None:
        with locked(path):
            entered.set()
            leave.wait(10)
            order.append("first")

    other = threading.Thread(target=hold)
    other.start()
    assert entered.wait(10)
    for wait in (0.0, 0.1):
        with pytest.raises(MemoryBusyError, match="somebody else"), locked(path, wait=wait):
            raise AssertionError("two hold the lock")
    threading.Timer(0.1, leave.set).start()
    with locked(path, wait=None):
        order.append("second")
    other.join()
    assert order == ["first", "second"]
    assert names(tmp_path) == []


ADDING = """
import sys
from pathlib import Path
from memplus.files import locked, write_aside
path = Path(sys.argv[1])
for _ in range(50):
    with locked(path, wait=60):
        count = int(path.read_bytes()) if path.exists() else 0
        write_aside(path, str(count + 1).encode())
"""


def test_no_change_of_several_processes_is_lost_and_no_lock_stays(tmp_path: Path) -> None:
    path = tmp_path / "count"
    (tmp_path / ".count.lock").touch()  # of a process that was killed
    command = [*python(), "-c", ADDING, str(path)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert path.read_bytes() == b"150"
    assert names(tmp_path) == ["count"]


def test_a_link_stays_and_what_it_leads_to_is_replaced_and_locked(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_aside(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    with locked(link), pytest.raises(MemoryBusyError), locked(real):
        pass
    hanging = tmp_path / "hanging"
    hanging.symlink_to(tmp_path / "there" / "later")
    write_aside(hanging, b"made")
    assert (tmp_path / "there" / "later").read_bytes() == b"made"


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_that_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="names no file"):
        write_aside(path, b"")
    with pytest.raises(UsageError, match="names no file"), locked(path):
        pass


def no_files(folder: Path) -> list[Path]:
    """A pipe, a socket, a device where the system lets one be made, and links to them."""
    found = [folder / "pipe", folder / "socket"]
    os.mkfifo(found[0])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(found[1]))
    with contextlib.suppress(PermissionError):
        os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        found.append(folder / "device")
    links = [folder / f"link to {one.name}" for one in found]
    for link, one in zip(links, found, strict=True):
        link.symlink_to(one)
    (folder / "link to a link").symlink_to(links[0])
    return [*found, *links, folder / "link to a link"]


def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path) -> None:
    places = no_files(tmp_path)
    before = [(one.name, one.lstat().st_ino) for one in sorted(tmp_path.iterdir())]
    for path in places:
        with pytest.raises(UsageError, match="is no regular file; give another place") as caught:
            write_aside(path, b"new")
        assert str(path) in str(caught.value)
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(UsageError, match="is a folder, but a file is needed"),
        aside(tmp_path / "folder"),
    ):
        raise AssertionError("work is begun that has no place to go to")
    (tmp_path / "folder").rmdir()
    assert [(one.name, one.lstat().st_ino) for one in sorted(tmp_path.iterdir())] == before
