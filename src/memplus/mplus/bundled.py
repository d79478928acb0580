"""The models that come with the package: their names, what each is for, and where they lie.

Knows files and words only, so that listing them loads no model library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from memplus.errors import UsageError
from memplus.mplus.bases import Base, known_bases

__all__ = [
    "BUNDLED",
    "BundledModel",
    "bundle_for",
    "bundled_models",
    "known_base_of",
    "refuse_bundled",
]

_ASSETS = Path(__file__).parents[1] / "assets"
_CONFIG = "memplus.json"
BUNDLES = _ASSETS / "bundles"
"""Where bundles lie that come with the package: a directory for each base model, by its name."""


@dataclass(frozen=True)
class BundledModel:
    """A model that ``MPlus.from_pretrained`` knows by its name."""

    name: str
    purpose: str
    """One line: what it can be asked, and what not."""
    parameters: int
    """Weights, the memory's own included."""
    licence: str
    """SPDX identifier."""
    path: Path
    """Its directory."""

    @property
    def nbytes(self) -> int:
        """Bytes of its files."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())


_NANO = BundledModel(
    name="nano",
    purpose=(
        'remembers notes such as "Ilsa Brandt\'s desk code is 7310." and answers questions about '
        "them; understands no other text"
    ),
    parameters=1_214_208,
    licence="Apache-2.0",
    path=_ASSETS / "nano",
)
BUNDLED = {model.name: model for model in (_NANO,)}
"""By name."""


def bundled_models() -> list[BundledModel]:
    """Every bundled model, by name."""
    return [BUNDLED[name] for name in sorted(BUNDLED)]


def refuse_bundled(name: str) -> None:
    """Refuse to fetch or to remove a model that lies in the package.

    Raises:
        UsageError: it does.
    """
    if name in BUNDLED:
        raise UsageError(
            f"{name} is bundled: it lies in the package, not in the cache, and nothing of it is "
            f"fetched or removed. Use it with `--model {name}`."
        )


def bundle_for(base: str) -> Path | None:
    """The directory of the bundle that comes with a base model; None: none comes with it yet.

    Args:
        base: a name that ``bases.known_bases`` has.
    """
    path = BUNDLES / base
    return path if (path / _CONFIG).is_file() else None


def known_base_of(name: str) -> Base | None:
    """The base model of the registry that must be in the cache before a model can be loaded.

    Args:
        name: of a base model that a bundle comes with, or a directory; of others it is found out
            when they are loaded.
    """
    known = known_bases()
    if name in known:
        return None if bundle_for(name) is None else known[name]
    file = Path(name).expanduser() / _CONFIG
    if not file.is_file():
        return None
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base"]
        return known.get(base["name"]) if base["kind"] == "name" else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None  # no bundle, or a damaged one, which loading says
