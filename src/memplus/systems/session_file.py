"""One saved session of a system as one file: its tensors, and the rest as JSON beside them.

Written aside and renamed, with a SHA-256 over all of it (``memory.tensor_file``). The JSON says
which system saved it, with which options and which model, and a session is loaded by these alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from memplus.errors import MemoryVersionError, SessionMismatchError
from memplus.files import as_path, aside
from memplus.memory.checks import Count, Fields, Text, checked, parsed, require, require_finite
from memplus.memory.tensor_file import opened, write_tensors
from memplus.systems.shared import SharedSystem

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["load_session", "save_session"]

_VERSION = 1
_HEADER = "header"

State = TypeVar("State", bound=Fields)


class _Header(Fields):
    """Whose session it is, and its state without the tensors."""

    session: Text
    """The system's name in the registry."""
    version: Count
    model: Text
    """Fingerprint of the weights."""
    options: dict[str, Any]
    state: dict[str, Any]


def save_session(
    path: Path, system: SharedSystem[Any], state: Fields, tensors: Mapping[str, Tensor]
) -> None:
    """Keep a session as one file; an older file is replaced in one step, or stays as it is.

    Args:
        path: of the file.
        system: whose session it is.
        state: all but the tensors.
        tensors: by name; on whatever device, in whatever strides.

    Raises:
        NotFoundError: the folder of ``path`` is missing.
        StorageError: the disk refused.
    """
    system.shared.mplus.check_weights()
    header = _Header(
        session=system.registered,
        version=_VERSION,
        model=system.shared.digest(system.part),
        options=_plain(system, system.acting),
        state=state.model_dump(mode="json"),
    )
    kept = {name: _alone(one) for name, one in tensors.items()}
    with aside(as_path(path)) as temporary:
        write_tensors(temporary, kept, json.dumps(header.model_dump(mode="json")))


def _alone(tensor: Tensor) -> Tensor:
    """Contiguous, on the CPU, and with a storage of its own: the format refuses views of one."""
    kept = tensor.detach().cpu().contiguous()
    return kept if kept.untyped_storage().nbytes() == kept.nbytes else kept.clone()


def load_session(
    path: Path, system: SharedSystem[Any], kind: type[State]
) -> tuple[State, dict[str, Tensor]]:
    """What ``save_session`` kept: the state, its fields checked, and the tensors, all finite.

    Args:
        path: of the file.
        system: that is to go on with it.
        kind: which fields its state has.

    Raises:
        SessionMismatchError: another system, other options or another model saved it.
        MemoryVersionError: a later release saved it.
        NotAMemoryError, CorruptMemoryError: it is something else, or damaged.
        NotFoundError, StorageError: it is not there, or cannot be read.
    """
    path = as_path(path)
    with opened(path) as file:
        values = parsed(file.text, path, _HEADER)
        require(isinstance(values, dict), path, _HEADER, "is not an object")
        if "session" not in values:
            raise SessionMismatchError(path, system=system.name, reason="it is a memory")
        if values.get("version") != _VERSION:
            raise MemoryVersionError(path, found=values.get("version"), supported=_VERSION)
        header = checked(_Header, values, path, _HEADER)
        _require_same(header, system, path)
        tensors = file.tensors()
    require_finite(tensors, path)
    return checked(kind, header.state, path, f"{_HEADER}.state"), tensors


def _require_same(header: _Header, system: SharedSystem[Any], path: Path) -> None:
    reason = ""
    ours = _plain(system, system.acting)
    # An option that is younger than the file had no other value then than its default has now.
    given = {**_plain(system, system.options_type()), **_depended_on(system, header.options)}
    system.shared.mplus.check_weights()
    if header.session != system.registered:
        reason = f"{header.session} saved it"
    elif given != ours:
        differ = [one for one in {**ours, **given} if ours.get(one) != given.get(one)]
        theirs = ", ".join(f"{one}={given.get(one)}" for one in differ)
        reason = f"it was saved with other options ({theirs})"
    elif header.model not in (
        system.shared.digest(system.part),
        # Sessions that earlier code saved are known by the whole model, whatever took part in them.
        system.shared.digest("model"),
    ):
        reason = "another model saved it"
    if reason:
        raise SessionMismatchError(path, system=system.name, reason=reason)


def _plain(system: SharedSystem[Any], options: DataclassInstance) -> dict[str, Any]:
    """The options that a session depends on, as JSON values."""
    return _depended_on(system, json.loads(json.dumps(asdict(options))))


def _depended_on(system: SharedSystem[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in system.not_of_sessions}
