"""Everything memplus raises on purpose, in one tree.

This room knows names, messages and exit codes; it imports nothing of the package, so every
other room may raise from it. A message says what happened in the user's terms, a hint says what
to do next, and ``exit_code`` is what the command line ends with.

Exit codes: 0 ok, 1 failure, 2 usage, 3 model and memory do not match, 4 corrupt.

::

    MemplusError                     1
    |-- UsageError                   2   the request itself is wrong
    |   |-- ConfigError                  one field of a configuration
    |   |-- EmptyTextError               nothing to read
    |   |-- NotTextError                 binary, or not UTF-8
    |   |-- QuestionSetError             a file of questions of no known form
    |   |-- PositionsError               the prompt does not fit the positions left
    |   |-- BudgetError                  the memory would outgrow its budget
    |   |-- StaleCacheError              a text cache older than the last write
    |   |-- TailError                    write_chunk on a memory that has a tail
    |   |-- UnknownMemoryError           the store holds no memory of that name
    |   |-- MemoryExistsError            the store holds one already
    |   |-- ReadOnlyMemoryError          opened for reading, or closed
    |   |-- HistoryError                 a state that is not kept
    |   `-- RunMismatchError             a folder holds the results of another run
    |-- ModelError                   1   the weights or their directory
    |   |-- UnknownModelError        2   no such name, directory or hub id
    |   |-- MissingWeightsDirectory  2   a directory without weights
    |   |-- NotADecoderError         2   not a decoder-only language model
    |   |-- UnsupportedModelError    2   a decoder that memplus cannot carry
    |   |-- WeightsError             4   missing, unexpected or misshapen weights
    |   |-- TokenizerMissingError        text given to a model without tokenizer
    |   `-- SelfTestError                a doctor's check failed
    |-- MemoryMismatchError          3   memory and model do not belong together
    |-- MemoryFileError              4   a saved memory cannot be used
    |   |-- CorruptMemoryError           truncated, or a checksum differs
    |   `-- MemoryVersionError           written by another version of the format
    |-- DamagedRunError              4   a file of results cannot be gone on with
    |-- StorageError                 1   the disk refused: full, read-only, no permission
    |-- MemoryBusyError              1   another process is writing to the memory
    `-- TrainingError                1   training cannot start or go on
        |-- NotFiniteError               a loss or a gradient is no number
        `-- TrainingBudgetError      2   it needs more memory than there is
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

__all__ = [
    "BudgetError",
    "ConfigError",
    "CorruptMemoryError",
    "DamagedRunError",
    "EmptyTextError",
    "HistoryError",
    "MemoryBusyError",
    "MemoryExistsError",
    "MemoryFileError",
    "MemoryMismatchError",
    "MemoryVersionError",
    "MemplusError",
    "MissingWeightsDirectory",
    "ModelError",
    "NotADecoderError",
    "NotFiniteError",
    "NotTextError",
    "PositionsError",
    "QuestionSetError",
    "ReadOnlyMemoryError",
    "RunMismatchError",
    "SelfTestError",
    "StaleCacheError",
    "StorageError",
    "TailError",
    "TokenizerMissingError",
    "TrainingBudgetError",
    "TrainingError",
    "UnknownMemoryError",
    "UnknownModelError",
    "UnsupportedModelError",
    "UsageError",
    "WeightsError",
]

_LISTED_NAMES = 8


class MemplusError(Exception):
    """Root of the tree: ``except MemplusError`` catches whatever memplus raises on purpose.

    ``message`` and ``hint`` are separate for programs; ``str(error)`` joins them for people.
    Classes below fill ``template`` from typed arguments, kept in ``fields``.
    """

    template: ClassVar[str] = "{message}"
    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        self._fill(message=message)

    def _fill(self, **fields: object) -> None:
        self.fields: dict[str, object] = fields
        self.message: str = self.template.format(**fields)
        Exception.__init__(self, self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., MemplusError], tuple[object, ...]]:
        # Keyword-only constructors do not survive Exception's own pickling.
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[MemplusError], fields: dict[str, object]) -> MemplusError:
    error = kind.__new__(kind)
    error._fill(**fields)
    return error


class UsageError(MemplusError):
    """The request itself is wrong; nothing was done."""

    exit_code = 2


class ConfigError(UsageError):
    """One field of a configuration cannot hold this value."""

    template = "{field} cannot be {value!r}: {reason}."
    hint = "Correct that field and try again."

    def __init__(self, field: str, *, value: object, reason: str) -> None:
        self._fill(field=field, value=value, reason=reason)


class EmptyTextError(UsageError):
    """There is nothing to read in a text, a question or a file."""

    template = "{what} is empty."
    hint = "Give at least one visible character."

    def __init__(self, what: str = "The text") -> None:
        self._fill(what=what)


class NotTextError(UsageError):
    """A file is binary or is not UTF-8; ``offset`` is that of its first bad byte."""

    template = "{path} is not UTF-8 text: {reason} at byte {offset}."
    hint = "Convert it first, e.g. `iconv -f latin1 -t utf-8 IN > OUT`, or extract its text."

    def __init__(self, path: str | Path, *, offset: int, reason: str = "invalid data") -> None:
        self._fill(path=str(path), offset=offset, reason=reason)


class QuestionSetError(UsageError):
    """A file of questions has no form that memplus knows."""

    template = "{path} is no question set that memplus can read."
    hint = "Give SQuAD's JSON, or Natural Questions with gold passages as JSON lines (.jsonl)."

    def __init__(self, path: str | Path) -> None:
        self._fill(path=str(path))


class PositionsError(UsageError):
    """Prefix, tail, prompt and new tokens need more positions than the model has."""

    template = "The prompt needs {needed} positions, but {available} are left after the memory."
    hint = "Shorten the prompt, ask for fewer new tokens, or write the text into memory instead."

    def __init__(self, *, needed: int, available: int) -> None:
        self._fill(needed=needed, available=available)


class BudgetError(UsageError):
    """What is about to be done needs more bytes than the budget; said before any is spent."""

    template = "This needs {needed} bytes of memory, but the budget is {given}."
    hint = "Raise the budget, keep fewer rows (eviction `oldest`), or use a smaller dtype."

    def __init__(self, *, needed: int, given: int) -> None:
        self._fill(needed=needed, given=given)


class StaleCacheError(UsageError):
    """A text cache was built before the memory's last write and no longer fits it."""

    template = "This cache was built after write {cached}, but the memory is at write {current}."
    hint = "Start a new cache after writing; `chat` does so at every turn."

    def __init__(self, *, cached: int, current: int) -> None:
        self._fill(cached=cached, current=current)


class TailError(UsageError):
    """``write_chunk`` would jump the queue: earlier tokens still wait in the memory's tail."""

    template = "The memory has {waiting} tokens waiting in its tail."
    hint = "Call `write(memory, ..., flush=True)` first, or use `write` for the new text."

    def __init__(self, *, waiting: int) -> None:
        self._fill(waiting=waiting)


class UnknownMemoryError(UsageError):
    """A store holds no memory of that name."""

    template = "There is no memory {name!r} in {store}."
    hint = "`memplus memories list --store DIR` names those that are there."

    def __init__(self, name: str, *, store: str | Path) -> None:
        self._fill(name=name, store=str(store))


class MemoryExistsError(UsageError):
    """A store holds a memory of that name already."""

    template = "There is a memory {name!r} in {store} already."
    hint = "Choose another name, or delete that one first."

    def __init__(self, name: str, *, store: str | Path) -> None:
        self._fill(name=name, store=str(store))


class ReadOnlyMemoryError(UsageError):
    """A memory of a store was opened for reading, or is closed, and cannot be changed."""

    template = "The memory {name!r} cannot be changed: {reason}."
    hint = "Open it with `MemoryStore.open(name, model, write=True)`."

    def __init__(self, name: str, *, reason: str) -> None:
        self._fill(name=name, reason=reason)


class HistoryError(UsageError):
    """A memory cannot go back to that write: no state after it is kept."""

    template = "The state after write {write} is not kept; kept are those after {kept}."
    hint = "`memplus memories history` lists them; each call of `write` makes one."

    def __init__(self, write: int, *, kept: str) -> None:
        self._fill(write=write, kept=kept)


class RunMismatchError(UsageError):
    """A folder holds the results of another run, which are not to be mixed with these."""

    template = "{path} holds the results of another run: {differs} differ(s)."
    hint = "Give another folder, or the same model, texts and numbers as before."

    def __init__(self, path: str | Path, *, differs: str) -> None:
        self._fill(path=str(path), differs=differs)


class ModelError(MemplusError):
    """The model, its weights or its directory cannot do what was asked."""


class UnknownModelError(ModelError):
    """A name is neither bundled, nor a directory, nor a hub id that can be reached."""

    template = "There is no model named {name!r}: {reason}."
    hint = "Use `nano` (bundled), a directory with config.json and weights, or a hub id."
    exit_code = 2

    def __init__(self, name: str, *, reason: str = "it is neither bundled nor a directory") -> None:
        self._fill(name=name, reason=reason)


class MissingWeightsDirectory(ModelError):
    """A model's directory is there, but its weights are not."""

    template = "{path} holds no model weights (looked for {expected})."
    hint = "Point to the directory that holds config.json and the *.safetensors files."
    exit_code = 2

    def __init__(self, path: str | Path, *, expected: str = "*.safetensors") -> None:
        self._fill(path=str(path), expected=expected)


class NotADecoderError(ModelError):
    """The model is not a decoder-only language model."""

    template = "{name} is not a decoder-only language model ({reason})."
    hint = "memplus needs a causal language model, such as a Llama or a Qwen."
    exit_code = 2

    def __init__(self, name: str, *, reason: str) -> None:
        self._fill(name=name, reason=reason)


class UnsupportedModelError(ModelError):
    """A decoder, or a checkpoint, that memplus cannot carry faithfully; refused by name."""

    template = "{name} is not supported: {reason}."
    hint = "The supported families and checkpoint layouts are listed in README.md."
    exit_code = 2

    def __init__(self, name: str, *, reason: str) -> None:
        self._fill(name=name, reason=reason)


class WeightsError(ModelError):
    """Weights are missing, unexpected or misshapen; each is named in the fields.

    Args:
        missing: names that the model needs and the files lack.
        unexpected: names that the files hold and the model has no place for.
        misshapen: name -> ``"expected [4, 8], found [4, 4]"`` or another fault of that tensor.
    """

    template = "The weights in {where} do not fit the model: {detail}."
    hint = "Nothing was loaded. Fetch the checkpoint again or correct its config.json."
    exit_code = 4

    def __init__(
        self,
        where: str | Path,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        misshapen: Mapping[str, str] | None = None,
    ) -> None:
        shapes = dict(misshapen or {})
        parts = [
            _listed("missing", sorted(missing)),
            _listed("unexpected", sorted(unexpected)),
            _listed("misshapen", [f"{name} ({fault})" for name, fault in sorted(shapes.items())]),
        ]
        self._fill(
            where=str(where),
            missing=tuple(missing),
            unexpected=tuple(unexpected),
            misshapen=shapes,
            detail="; ".join(part for part in parts if part),
        )


def _listed(label: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:_LISTED_NAMES])
    rest = len(names) - _LISTED_NAMES
    return f"{len(names)} {label}: {shown}" + (f" and {rest} more" if rest > 0 else "")


class TokenizerMissingError(ModelError):
    """Text was given to a model whose directory has no tokenizer."""

    template = "{name} has no tokenizer, so it cannot take text."
    hint = "Put the tokenizer's files beside the weights, or pass token ids."

    def __init__(self, name: str) -> None:
        self._fill(name=name)


class SelfTestError(ModelError):
    """A check of ``doctor`` failed: this model's answers cannot be trusted."""

    template = "{name} failed its self-test: {detail}."
    hint = "Run `memplus doctor` for every check; compare library versions with constraints.txt."

    def __init__(self, name: str, *, detail: str) -> None:
        self._fill(name=name, detail=detail)


class MemoryMismatchError(MemplusError):
    """A memory was written by other weights, another adapter or another configuration."""

    template = "This memory does not belong to this model: {differs} differ(s)."
    hint = "Open it with the model that wrote it, or write the text again with this one."
    exit_code = 3

    def __init__(self, *, differs: str) -> None:
        self._fill(differs=differs)


class MemoryFileError(MemplusError):
    """A saved memory cannot be used; nothing was changed."""

    template = "{path} cannot be opened as a memory: {reason}."
    hint = "Give the path of a memory made by `memplus write` or `Memory.save`."
    exit_code = 4

    def __init__(self, path: str | os.PathLike[str], *, reason: str) -> None:
        self._fill(path=str(path), reason=reason)


class CorruptMemoryError(MemoryFileError):
    """A saved memory is truncated, or a checksum differs."""

    template = "{path} is damaged: {reason}."
    hint = "Restore it from a copy, or write its sources again."


class MemoryVersionError(MemoryFileError):
    """A saved memory has a format version that this release cannot read."""

    template = "{path} has format version {found}; this release reads up to {supported}."
    hint = "Update memplus and open it again."

    def __init__(self, path: str | Path, *, found: object, supported: int) -> None:
        self._fill(path=str(path), found=found, supported=supported)


class DamagedRunError(MemplusError):
    """A line of a file of results is not what it should be."""

    template = "{path} is damaged in line {line}."
    hint = "Cut the file off before that line to go on from there, or give another folder."
    exit_code = 4

    def __init__(self, path: str | Path, *, line: int) -> None:
        self._fill(path=str(path), line=line)


class StorageError(MemplusError):
    """The disk refused a read or a write; the old file, if any, is intact."""

    template = "{path} could not be stored or read: {reason}."
    hint = "Free some space or choose another place; what was there before is untouched."

    def __init__(self, path: str | Path, *, reason: str) -> None:
        self._fill(path=str(path), reason=reason)


class MemoryBusyError(MemplusError):
    """Another process, or another handle of this one, is writing to the memory."""

    template = "The memory {name!r} is being written to by somebody else."
    hint = "Wait for it (`--wait SECONDS`), or open the memory for reading."

    def __init__(self, name: str) -> None:
        self._fill(name=name)


class TrainingError(MemplusError):
    """Training cannot start, or cannot go on."""

    template = "Training stopped: {reason}."
    hint = "The last checkpoint in the run's folder is valid; see LOG.md for settings that work."

    def __init__(self, reason: str) -> None:
        self._fill(reason=reason)


class NotFiniteError(TrainingError):
    """A loss or a gradient is infinite or no number; nothing was learned from it."""

    template = "Training stopped: {what} of step {step}, task {task!r}, is not finite."
    hint = "The last checkpoint is good. Go on from it with a lower learning rate or more warm-up."

    def __init__(self, what: str, *, task: str, step: int) -> None:
        self._fill(what=what, task=task, step=step)


class TrainingBudgetError(TrainingError):
    """A run would need more memory than there is; said before its first step."""

    template = "This run needs about {needed:.1f} GiB, and {given:.1f} GiB are there: {parts}."
    hint = (
        "Try model.gradient_checkpointing, fewer run.documents, shorter chunks or fewer rows; "
        "run.memory_gib overrides what is reckoned to be there."
    )
    exit_code = 2

    def __init__(self, *, needed: float, given: float, parts: str) -> None:
        self._fill(needed=needed, given=given, parts=parts)
