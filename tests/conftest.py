"""Every test runs on one thread; none reaches a network but to fetch smollm2's base."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before torch and the hub's client are imported, which read them once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

# Stores wait for the disk after every change. What tests kill are processes, never the machine, so
# a file system in memory shows the same, without the wait.
_SHM = Path("/dev/shm")
_ROOM = 4 * 2**30
if _SHM.is_dir() and os.access(_SHM, os.W_OK) and shutil.disk_usage(_SHM).free > _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_SHM))


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """A shell starts background jobs with Ctrl-C ignored; what it does is tested all the same."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
