"""From a model's name to its directory: names that memplus knows, directories, hub ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memplus.errors import UnknownModelError, UntrainedBaseError
from memplus.errors.base import storage_errors
from memplus.mplus.base_cache import cached_base, pull
from memplus.mplus.base_progress import watch_on_stderr
from memplus.mplus.base_sources import SOURCES
from memplus.mplus.bases import known_bases
from memplus.mplus.bundled import BUNDLED, bundle_for
from memplus.mplus.placement import HubOptions

__all__ = ["NOTICE", "Origin", "locate", "locate_backbone", "locate_memory_model", "notice_in"]

NOTICE = "NOTICE"

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Origin:
    """Where a model's stock weights came from."""

    kind: Literal["name", "folder", "hub"]
    """What ``name`` is: one that `memplus models` lists, a directory, or a hub id."""
    name: str
    path: Path
    """The directory that it led to."""
    bundle: Path | None = None
    """The bundle whose base this is; None where the directory holds the whole model."""
    notice: bytes | None = None
    """What its file NOTICE says, or that of the bundle: it goes with every copy."""

    @property
    def known_base(self) -> bool:
        """Whether it is a base model that memplus knows by name."""
        return self.kind == "name" and self.name in known_bases()

    @property
    def revision(self) -> str | None:
        """Commit of a hub id."""
        known = self.kind == "hub" and _COMMIT.fullmatch(self.path.name)
        return self.path.name if known else None


def locate(name: str | Path, hub: HubOptions | None = None) -> Origin:
    """A bundled name, a directory or a hub id -> a directory.

    Args:
        name: of the model.
        hub: passed on to the hub's client.

    Raises:
        UnknownModelError: it is none of them, or the hub cannot be reached.
    """
    text = str(name)
    if text in BUNDLED:
        return Origin("name", text, BUNDLED[text].path, notice=notice_in(BUNDLED[text].path))
    path = Path(name).expanduser()
    if path.is_dir():
        return Origin("folder", str(path.resolve()), path, notice=notice_in(path))
    if path.exists() or text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise UnknownModelError(text)
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", NOTICE]
        options: Any = hub or {}
        path = Path(snapshot_download(text, allow_patterns=patterns, **options))
    except Exception as error:  # whatever the hub's client raises, the name is not usable
        reason = f"the hub did not give it: {' '.join(str(error).split())}"
        raise UnknownModelError(text, reason=reason, hub=True) from error
    return Origin("hub", text, path, notice=notice_in(path))


def notice_in(folder: Path) -> bytes | None:
    """What a directory's file NOTICE says; None: it has none.

    Raises:
        StorageError: it cannot be read.
    """
    file = folder / NOTICE
    if not file.is_file():
        return None
    with storage_errors(file):
        return file.read_bytes()


def locate_memory_model(name: str | Path, hub: HubOptions | None = None) -> Origin:
    """Where a model with memory lies: as ``locate``, or the bundle that comes with a base model.

    Raises:
        UnknownModelError: see ``locate``.
        UntrainedBaseError: it is the name of a base model that no bundle comes with.
    """
    base = known_bases().get(str(name))
    if base is None:
        return locate(name, hub)
    bundle = bundle_for(base.name)
    if bundle is not None:
        return Origin("name", base.name, bundle)
    found = cached_base(base)
    raise UntrainedBaseError(
        base.name, state="not fetched yet" if found is None else f"it lies in {found.path}"
    )


def locate_backbone(name: str | Path, hub: HubOptions | None = None) -> Origin:
    """Where a stock decoder lies: as ``locate``, or a base model, fetched where it is missing.

    Raises:
        UnknownModelError: see ``locate``.
        ModelError, StorageError: see ``base_cache.pull``.
    """
    base = known_bases().get(str(name))
    if base is None:
        return locate(name, hub)
    local = bool((hub or {}).get("local_files_only"))
    with watch_on_stderr() as watch:
        found = pull(base, watch=watch, sources=() if local else SOURCES)
    return Origin("name", base.name, found.path)
