"""The user's own store, and what can be known of a store without loading a model library."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from platformdirs import user_data_path

__all__ = ["DEFAULT_ID", "complete_id", "default_store"]

DEFAULT_ID = "default"
"""The memory that commands use where none is named."""


def default_store() -> Path:
    """The store in the user's data folder; made by the first write to it."""
    return user_data_path("memplus", appauthor=False) / "store"


def complete_id(incomplete: str) -> list[str]:
    """Names of memories for a shell: those of ``MEMPLUS_STORE``, or of the user's own store."""
    named = os.environ.get("MEMPLUS_STORE")
    folder = (Path(named) if named else default_store()) / "memories"
    found: list[str] = []
    with contextlib.suppress(OSError):
        for one in sorted(folder.iterdir()):
            # One line with a checksum stands before the JSON. A damaged one is just not offered.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                content = (one / "manifest").read_text(encoding="utf-8")
                found.append(str(json.loads(content.partition("\n")[2])["id"]))
    return sorted(name for name in found if name.startswith(incomplete))
