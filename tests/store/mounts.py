"""Small disks of one's own, where the system lets a test mount them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def small_disk(size: str = "8m") -> Iterator[Path]:
    """An empty disk of its own; the test is skipped where none can be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no disk can be mounted here: {error}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def make_read_only(disk: Path) -> None:
    """From here on the disk refuses every change."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    piece = 1 << 20
    with (disk / "filling").open("wb", buffering=0) as file:
        while piece:
            try:
                file.write(bytes(piece))
            except OSError:
                piece //= 2


def without_rights(act: Callable[[], None]) -> None:
    """Do something as a user that may change nothing which others own.

    In a process of its own where this one is root, whom no permission stops.
    """
    if os.geteuid() != 0:
        act()
        return
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
