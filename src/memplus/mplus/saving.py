"""A model with memory as a directory: written aside, then put in the place of what was there.

A save that fails leaves the directory as it was: every new file is complete and flushed before
the first of the old ones moves. Meanwhile the disk holds both models.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memplus.backbone.base_weights import untied_state
from memplus.backbone.layouts import ADAPTERS, FORMAT, OUR_CONFIG, WHOLE
from memplus.backbone.references import BaseReference
from memplus.config import MemoryConfig, PromptConfig
from memplus.errors import StorageError
from memplus.errors.base import storage_errors
from memplus.files import as_path, flush, is_left
from memplus.memory.written_text import require_text
from memplus.mplus.loading import Parts
from memplus.mplus.locating import NOTICE

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["Saved", "save_directory"]

_ASIDE = ".saving-"
# What a directory holds of a model. A file of the older model that the newer one lacks must go
# with it: it would be read with the new ones (an index of shards comes before whole weights).
_OF_A_MODEL = (
    OUR_CONFIG,
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "adapters.safetensors",
    "adapters-*.safetensors",
    "adapters.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.j*",
    "additional_chat_templates",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


@dataclass(frozen=True)
class Saved:
    """What a directory of our layout is made of."""

    parts: Parts
    memory: MemoryConfig
    prompt: PromptConfig
    tokenizer: PreTrainedTokenizerBase | None
    """None: it has none, or its base's."""
    base: BaseReference | None = None
    """What adapters and memory weights are saved over; None: the whole model is saved."""
    notice: bytes | None = None
    """What a file NOTICE must say, where the directory has none yet."""


def save_directory(
    saved: Saved, path: str | os.PathLike[str], storage_dtype: torch.dtype | None = None
) -> None:
    """Write a directory in our layout; see ``MPlus.save_pretrained``.

    Args:
        saved: the model.
        path: directory; made where it is missing. Files that are no model's stay as they are.
        storage_dtype: of floating-point weights; None keeps them as they are.

    Raises:
        StorageError: the disk refused, or ``path`` is a file; what was there is untouched.
        NotFoundError: a part of ``path`` is a file.
        UsageError: ``path`` is no path, or not in UTF-8.
    """
    folder = as_path(path)
    require_text(str(folder), "The path")  # the libraries that write weights take UTF-8 only
    if folder.exists() and not folder.is_dir():
        raise StorageError(folder, reason="it is a file, not a folder", code=errno.ENOTDIR)
    with storage_errors(folder), _made(folder), _aside(folder) as aside:
        new, old = aside / "new", aside / "old"
        new.mkdir()
        old.mkdir()
        kept = replace(saved, notice=None) if (folder / NOTICE).exists() else saved
        _write(kept, new, storage_dtype)
        rights = (new / OUR_CONFIG).stat().st_mode
        for file in new.rglob("*"):
            if file.is_file():
                file.chmod(rights)  # libraries keep the weights from other users
        for file in [*new.rglob("*"), new]:
            flush(file)
        _swap(new, folder, old)
        _remove_left(folder)


def _write(saved: Saved, folder: Path, storage_dtype: torch.dtype | None) -> None:
    _write_weights(saved, folder, storage_dtype)
    model = saved.parts.model
    if saved.base is None:
        model.config.save_pretrained(folder)
        _without_code(folder / "config.json")
    # As they are: the library's own way refuses rules that it accepted when it loaded them.
    model.generation_config.to_json_file(folder / "generation_config.json")
    if saved.tokenizer is not None:
        saved.tokenizer.save_pretrained(folder)
    if saved.notice is not None:
        (folder / NOTICE).write_bytes(saved.notice)
    ours: dict[str, Any] = {
        "format": FORMAT,
        "memory": saved.memory.to_dict(),
        "prompt": asdict(saved.prompt),
    }
    if saved.base is not None:
        # A whole model's config.json says in what dtype it is loaded; a bundle has none.
        dtype = getattr(model.config, "dtype", None) or model.dtype
        ours |= {"base": asdict(saved.base), "dtype": str(dtype).removeprefix("torch.")}
    (folder / OUR_CONFIG).write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")


def _write_weights(saved: Saved, folder: Path, storage_dtype: torch.dtype | None) -> None:
    from huggingface_hub import save_torch_state_dict

    state = {name: tensor.detach().cpu() for name, tensor in _named_tensors(saved.parts).items()}
    stem = WHOLE.stem
    if saved.base is not None:
        stem = ADAPTERS.stem
        state = {name: tensor for name, tensor in state.items() if ADAPTERS.requires(name)}
    if storage_dtype is not None:
        state = {
            name: tensor.to(storage_dtype) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_torch_state_dict(state, folder, filename_pattern=f"{stem}{{suffix}}.safetensors")


def _without_code(file: Path) -> None:
    """A model that came with code of its own is saved as the stock model that it is."""
    values = json.loads(file.read_text(encoding="utf-8"))
    if values.pop("auto_map", None) is not None:
        file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _named_tensors(parts: Parts) -> dict[str, Tensor]:
    tensors = untied_state(parts.model)
    groups = {
        "memplus.": parts.weights.state_dict(),
        "memplus.pristine.": parts.pristine.tensors(),
        "memplus.kept.": parts.kept,
    }
    for stem, group in groups.items():
        tensors |= {stem + name: tensor for name, tensor in group.items()}
    return tensors


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Move the older model's files to ``old`` and the new ones into ``folder``, or nothing.

    Our config leaves first and comes last: a process that is killed in between leaves a directory
    that is refused for its lack, never one that is read as a mixture.
    """
    coming = sorted(new.iterdir(), key=lambda path: path.name == OUR_CONFIG)
    names = {path.name for path in coming}
    going = [
        path
        for path in folder.iterdir()
        if path.name in names or any(path.match(pattern) for pattern in _OF_A_MODEL)
    ]
    going.sort(key=lambda path: path.name != OUR_CONFIG)
    moves = [(path, old / path.name) for path in going]
    moves += [(path, folder / path.name) for path in coming]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.replace(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.replace(source)
        raise
    with contextlib.suppress(OSError):  # the new files are in place by now
        flush(folder)


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder inside ``folder``, so on the same disk, that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    """Remove what killed saves left; until one has ended well, the only weights may be in there."""
    with contextlib.suppress(OSError):
        for one in os.scandir(folder):
            if one.name.startswith(_ASIDE) and one.is_dir(follow_symlinks=False) and is_left(one):
                shutil.rmtree(one.path, ignore_errors=True)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """``folder`` exists; where it had to be made and the block fails, it is gone again."""
    there = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
