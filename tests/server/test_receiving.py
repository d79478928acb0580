from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from io import FileIO
from pathlib import Path

import pytest

from memplus.errors import StorageError
from memplus.server import receiving
from memplus.server.receiving import clear_received, received, require_space

PIECES = [b"one", b"", b"two"]


async def coming() -> AsyncIterator[bytes]:
    for piece in PIECES:
        yield piece


def test_what_comes_is_a_file_until_the_block_ends(tmp_path: Path) -> None:
    async def run() -> None:
        async with received(coming(), tmp_path) as path:
            assert path.parent == tmp_path
            assert path.read_bytes() == b"onetwo"
            assert path.stat().st_mode & 0o077 == 0
            clear_received(tmp_path)  # another server begins: it is in use
            assert path.exists()
        assert not list(tmp_path.iterdir())

    asyncio.run(run())


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    (tmp_path / "incoming-0123").write_bytes(b"half")
    (tmp_path / "store").write_bytes(b"{}")
    clear_received(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["store"]


def test_a_disk_that_is_full_is_said_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(FileIO):
        def write(self, piece: object) -> int:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "open", lambda path, *mode, buffering: Full(path, "w"))

    async def run() -> None:
        with pytest.raises(StorageError) as refused:
            async with received(coming(), tmp_path):
                pass
        assert refused.value.fields["code"] == errno.ENOSPC

    asyncio.run(run())
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_said_before_anything_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr(receiving.shutil, "disk_usage", lambda folder: Usage)
    require_space(tmp_path, 50)
    with pytest.raises(StorageError) as refused:
        require_space(tmp_path, 51)
    assert refused.value.fields["code"] == errno.ENOSPC
