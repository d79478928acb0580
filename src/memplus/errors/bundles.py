"""Bundles: adapters and memory weights over a base that lies elsewhere."""

from __future__ import annotations

from pathlib import Path

from memplus.errors.model import ModelError

__all__ = [
    "BaseChangedError",
    "BundleAdaptersError",
    "BundleBaseError",
    "BundleBaseMissingError",
    "BundleError",
    "NestedBundleError",
    "NoBaseError",
]


class BundleError(ModelError):
    """A bundle (adapters over a base) and its base do not make a model."""


class BundleBaseMissingError(BundleError):
    """The base of a bundle is not where the bundle says.

    Args:
        bundle: its directory.
        base: what the bundle calls its base.
        reason: why there is nothing to load.
    """

    template = "The bundle {bundle} needs its base {base}: {reason}."
    hint = (
        "Put the base back there, or say where it is: in the bundle's memplus.json, or with "
        'MPlus.from_pretrained(bundle, base="DIR").'
    )
    exit_code = 2

    def __init__(self, bundle: str | Path, *, base: str, reason: str) -> None:
        self._fill(bundle=str(bundle), base=base, reason=reason)


class BundleBaseError(BundleError):
    """What lies in the place of a bundle's base is another one.

    Args:
        bundle: its directory.
        base: the directory that was taken for the base.
        part: what differs, such as ``"SHA-256 of its weights"``.
        found: what it is there.
        expected: what it was when the bundle was made.
    """

    template = (
        "{base} is not the base that {bundle} was made on: the {part} is {found}, but {expected} "
        "is expected."
    )
    hint = (
        "Nothing was loaded: adapters work only on their own base. Fetch the base again (a base "
        "model with `memplus models remove` and `memplus pull`), or say where the right one is: "
        'MPlus.from_pretrained(bundle, base="DIR").'
    )
    exit_code = 4

    def __init__(
        self, bundle: str | Path, *, base: str | Path, part: str, found: str, expected: str
    ) -> None:
        self._fill(bundle=str(bundle), base=str(base), part=part, found=found, expected=expected)


class NestedBundleError(BundleError):
    """A bundle was given as the base of a bundle."""

    template = "{base} is a bundle itself, so it cannot be the base of a bundle; its base is {own}."
    hint = "Give the directory of the base model, which holds all of the weights."
    exit_code = 2

    def __init__(self, base: str | Path, *, own: str) -> None:
        self._fill(base=str(base), own=own)


class BundleAdaptersError(BundleError):
    """A bundle's adapters are not those that its config describes.

    Args:
        bundle: its directory.
        differs: each difference, with what the config says and what the file holds.
    """

    template = "The adapters in {bundle} are not those that its memplus.json describes: {differs}."
    hint = "Nothing was loaded. Take memplus.json and adapters.safetensors from the same save."
    exit_code = 4

    def __init__(self, bundle: str | Path, *, differs: str) -> None:
        self._fill(bundle=str(bundle), differs=differs)


class NoBaseError(BundleError):
    """A model came from no directory, hub id or registry name that a bundle could name."""

    template = "{name} was not loaded by name, so a bundle of it could not name its base."
    hint = (
        'Say where its stock weights are: save_pretrained(path, base="DIR"); or save the whole '
        "model: save_pretrained(path)."
    )
    exit_code = 2

    def __init__(self, name: str) -> None:
        self._fill(name=name)


class BaseChangedError(BundleError):
    """A model's stock weights, config or tokenizer are not those of the base that was named."""

    template = "A bundle over {base} would differ from this model: {differs}."
    hint = "Save the whole model instead: save_pretrained(path). Nothing was written."
    exit_code = 2

    def __init__(self, base: str | Path, *, differs: str) -> None:
        self._fill(base=str(base), differs=differs)
