"""An environment of its own for each peer, made from the package index when it is first needed.

Nothing but the standard library is imported here: a script calls ``enter`` before it imports the
software it runs, and goes on as the same script in that environment.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["enter", "folder_of"]

_HERE = Path(__file__).resolve().parent
_PLACE = "MEMPLUS_PEERS"
"""Environment variable: where the environments are made."""


def folder_of(name: str) -> Path:
    """Where the environment of a peer lies: runs/environments in this repository by default."""
    place = os.environ.get(_PLACE)
    return (Path(place) if place else _HERE.parents[1] / "runs" / "environments") / name


def enter(name: str, *, threads: int = 1) -> None:
    """Go on in the environment of a peer; returns where this is it already.

    Args:
        name: its file in requirements/ without the ending.
        threads: of every library that counts them.
    """
    folder = folder_of(name).resolve()
    if Path(sys.prefix).resolve() == folder:
        return
    # Packages of the caller's must not be seen in there, by pip or by the peer.
    os.environ.pop("PYTHONPATH", None)
    _make(folder, _HERE / "requirements" / f"{name}.txt")
    os.environ.update(OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false")
    python = str(folder / "bin" / "python")
    os.execv(python, [python, *sys.argv])


def _make(folder: Path, requirements: Path) -> None:
    """Make it, or make it anew where other packages were asked for than now."""
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    made = folder / "made_of"
    if made.is_file() and made.read_text() == wanted:
        return
    print(f"making {folder} of {requirements.name} ...", file=sys.stderr)
    venv.create(folder, clear=True, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq"]
    done = subprocess.run([*command, "-r", str(requirements)], stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(f"pip could not install {requirements.name}; see above")
    made.write_text(wanted)
