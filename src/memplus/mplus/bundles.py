"""Bundles: adapters and memory weights over a base that lies elsewhere.

A bundle names its base and says what it is, by a digest of the base's stored weights. Loading looks
for the base and refuses another one; saving refuses where base and adapters together would not be
the model that is saved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.base_weights import adapted_names, stored_weights
from memplus.backbone.layouts import ADAPTERS, Checkpoint, base_config, read_reference, weight_files
from memplus.backbone.references import BaseReference, computing_fields, first_difference
from memplus.backbone.stock import load_tokenizer
from memplus.errors import (
    BaseChangedError,
    BundleAdaptersError,
    BundleBaseError,
    BundleBaseMissingError,
    MissingWeightsDirectory,
    NestedBundleError,
    UnknownModelError,
    WeightsError,
)
from memplus.mplus.bases import known_bases
from memplus.mplus.bundled import BUNDLED
from memplus.mplus.fingerprint import stored_digest, tokenizer_digest, words_digest
from memplus.mplus.locating import Origin, locate_backbone, notice_in
from memplus.mplus.placement import HubOptions

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Overlay",
    "base_weights",
    "bundle_tokenizer",
    "check_adapters",
    "find_base",
    "overlay",
    "refuse_bundle",
]

_SHOWN = 3
_WEIGHTS, _WORDS = "SHA-256 of its weights", "SHA-256 of its tokenizer's words"


# Loading ----------------------------------------------------------------------------------------


def find_base(
    bundle: Path, hub: HubOptions | None = None, elsewhere: str | os.PathLike[str] | None = None
) -> Origin | None:
    """Where the base of a bundle lies; a base model that memplus knows is fetched if need be.

    Args:
        bundle: a directory of a model with memory.
        hub: passed on to the hub's client, without the bundle's own revision.
        elsewhere: looked for instead of what the bundle names.

    Returns:
        None where the directory is none of a bundle.

    Raises:
        BundleBaseMissingError: it is not there.
        MissingWeightsDirectory: the bundle's own weights are not there.
        NestedBundleError: a bundle lies there.
        ModelError, StorageError: a base model cannot be fetched; see ``base_cache.pull``.
        ConfigError, UnknownModelError: the bundle's config is damaged.
    """
    reference = read_reference(bundle)
    if reference is None:
        return None
    weight_files(bundle, ADAPTERS)  # before anything is fetched for what is no whole bundle
    name = reference.name if elsewhere is None else os.fspath(elsewhere)
    if elsewhere is None:
        _check_kind(bundle, reference)
    options: HubOptions = {**(hub or {})}
    options.pop("revision", None)
    if reference.revision is not None and elsewhere is None:
        options["revision"] = reference.revision
    try:
        found = locate_backbone(name, options)
    except UnknownModelError as error:
        reason = str(error.fields["reason"])
        raise BundleBaseMissingError(bundle, base=name, reason=reason) from error
    refuse_bundle(found.path)
    if not (found.path / "config.json").is_file():
        raise BundleBaseMissingError(bundle, base=name, reason=_lacks("config.json"))
    return replace(found, bundle=bundle, notice=notice_in(bundle) or found.notice)


def _lacks(file: object) -> str:
    return f"its directory lacks {file}"


def _check_kind(bundle: Path, reference: BaseReference) -> None:
    """What the name is, is what it was: no directory stands in for a name that is not known."""
    name = reference.name
    if reference.kind == "name" and name not in known_bases() and name not in BUNDLED:
        reason = "this release of memplus knows no model of that name"
        raise BundleBaseMissingError(bundle, base=name, reason=reason)
    if reference.kind == "folder" and not Path(name).is_dir():
        reason = "there is no such directory"
        raise BundleBaseMissingError(bundle, base=name, reason=reason)


def refuse_bundle(path: Path) -> None:
    """Refuse a bundle in the place of a base.

    Raises:
        NestedBundleError: with the name of that bundle's own base.
    """
    own = read_reference(path)
    if own is not None:
        raise NestedBundleError(path, own=own.name)


def base_weights(checkpoint: Checkpoint, model: PreTrainedModel) -> dict[str, Tensor]:
    """The stock weights of a bundle's base, checked.

    Args:
        checkpoint: of the bundle.
        model: of the base's config, without weights or adapters.

    Returns:
        By the names of the stock model.

    Raises:
        BundleBaseMissingError: the base holds no weights.
        BundleBaseError: they are others than those that the bundle was made on, or its config
            makes something else of them.
        WeightsError: some are missing, left over or misshapen.
    """
    base, path = checkpoint.base, checkpoint.base_path
    assert base is not None
    assert path is not None
    try:
        stored = stored_weights(path, model)
    except MissingWeightsDirectory as error:
        reason = _lacks(error.fields["expected"])
        raise BundleBaseMissingError(checkpoint.path, base=base.name, reason=reason) from error
    found = stored_digest(stored)
    if found != base.weights:
        raise BundleBaseError(
            checkpoint.path, base=path, part=_WEIGHTS, found=found, expected=base.weights
        )
    differs = first_difference(base.config, computing_fields(checkpoint.config))
    if differs is not None:
        name, expected, there = differs
        part, values = f"{name} of its config", (str(there), str(expected))
        raise BundleBaseError(
            checkpoint.path, base=path, part=part, found=values[0], expected=values[1]
        )
    return stored


def bundle_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase | None:
    """The bundle's own tokenizer, or its base's.

    Raises:
        BundleBaseError: the base's has other words than when the bundle was made.
        UnsupportedModelError: see ``load_tokenizer``.
    """
    base, path = checkpoint.base, checkpoint.base_path
    own = load_tokenizer(checkpoint.path, checkpoint.config)
    if base is None or path is None or own is not None or base.words is None:
        return own
    tokenizer = load_tokenizer(path, checkpoint.config)
    found = words_digest(tokenizer) or "none"
    if found != base.words:
        raise BundleBaseError(
            checkpoint.path, base=path, part=_WORDS, found=found, expected=base.words
        )
    return tokenizer


def check_adapters(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Compare a bundle's adapters with those that its config describes.

    Args:
        checkpoint: of the bundle.
        model: with adapters of that config.

    Raises:
        BundleAdaptersError: ranks, layers or adapters differ; single tensors are not looked at.
    """
    said = _described({name: tensor.shape for name, tensor in model.state_dict().items()})
    found = _described({name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    differs = [
        f"its {what} {said[what]} by the config, {found[what]} in the file"
        for what in said
        if said[what] != found[what]
    ]
    if differs:
        raise BundleAdaptersError(checkpoint.path, differs="; ".join(differs))


def _described(shapes: Mapping[str, torch.Size]) -> dict[str, str]:
    held = {name: shape for name, shape in shapes.items() if ".lora_A." in name and shape}
    described = {
        "rank is": {str(shape[0]) for shape in held.values()},
        "layers are": {name.split(".lora_A.")[0].rpartition(".")[2] for name in held},
        "adapters are": {name.split(".")[-2] for name in held},
    }
    return {what: ", ".join(sorted(values)) or "none" for what, values in described.items()}


# Saving -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overlay:
    """A model as a bundle: what its base is, and what of it must be kept beside the adapters."""

    base: BaseReference
    path: Path
    """Where the base lies now."""
    own_tokenizer: bool
    """Whether the model's tokenizer is another than its base's."""


def overlay(
    origin: Origin, backbone: Backbone, tokenizer: PreTrainedTokenizerBase | None
) -> Overlay:
    """A model as adapters over the base that it came from.

    Args:
        origin: where its stock weights came from.
        backbone: the stock decoder with its adapters.
        tokenizer: the model's.

    Raises:
        BaseChangedError: the model's stock weights, or what its config makes of them, are not
            those that are stored there.
        NestedBundleError: a bundle is stored there.
        ModelError, StorageError: the base is gone and cannot be found again.
    """
    origin = _still_there(origin)
    path, model = origin.path, backbone.model
    refuse_bundle(path)
    _refuse_foreign_adapters(path, backbone)
    fields = computing_fields(model.config)
    _refuse_other_config(path, fields)
    state = model.state_dict()
    try:
        stored = stored_weights(path, model)
    except WeightsError as error:
        raise BaseChangedError(path, differs=str(error.fields["detail"])) from error
    names = adapted_names(state)
    differing = [plain for plain in stored if not _same(stored[plain], state[names[plain]])]
    if differing:
        shown = ", ".join(differing[:_SHOWN])
        differs = f"{len(differing)} of its stock weights differ from those there ({shown})"
        raise BaseChangedError(path, differs=differs)
    own = load_tokenizer(path)
    same = _same_tokenizer(tokenizer, own)
    reference = BaseReference(
        origin.kind,
        origin.name,
        weights=stored_digest(stored),
        words=words_digest(own) if same else None,
        revision=origin.revision,
        config=fields,
    )
    return Overlay(reference, path, own_tokenizer=not same and tokenizer is not None)


def _still_there(origin: Origin) -> Origin:
    """The same base, found again where the directory that it was loaded from is gone."""
    if origin.path.is_dir():
        return origin
    if origin.kind == "folder":
        reason = "the directory that the model was loaded from is gone"
        raise UnknownModelError(origin.name, reason=reason)
    return locate_backbone(origin.name, {"revision": origin.revision} if origin.revision else None)


def _refuse_foreign_adapters(path: Path, backbone: Backbone) -> None:
    known = {backbone.adapters.writing, backbone.adapters.reading}
    names = {name.split(".")[-2] for name in backbone.model.state_dict() if ".lora_A." in name}
    if foreign := sorted(names - known):
        differs = f"it carries adapters that its memory does not know: {', '.join(foreign)}"
        raise BaseChangedError(path, differs=differs)


def _refuse_other_config(path: Path, fields: Mapping[str, Any]) -> None:
    differs = first_difference(computing_fields(base_config(path)), fields)
    if differs is not None:
        name, there, here = differs
        raise BaseChangedError(path, differs=f"{name} is {here} in its config, and {there} there")


def _same(stored: Tensor, held: Tensor) -> bool:
    """Whether a weight is what loading the stored one in its dtype gives, bit for bit."""
    return torch.equal(stored.to(held.dtype), held.detach().cpu())


def _same_tokenizer(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    special, template = "special_tokens_map", "chat_template"
    return tokenizer_digest(one) == tokenizer_digest(other) and all(
        getattr(one, name, None) == getattr(other, name, None) for name in (special, template)
    )
