"""Flags that belong together, as values: which model, which memory, how the result is shown.

A command takes such a group as one parameter, and ``with_groups`` gives it one flag per field. So a
flag is described, read and checked in one place, whatever commands have it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from memplus.cli.opening import load_model
from memplus.cli.options import (
    AsJson,
    Device,
    Dtype,
    Durability,
    Id,
    MaxBytes,
    MemoryPath,
    Model,
    Ram,
    Rows,
    Seed,
    Store,
    Wait,
)
from memplus.cli.output import Output
from memplus.cli.place import Creation, Place
from memplus.cli.standard import DEFAULT_ID, default_store
from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus

__all__ = ["ModelFlags", "OutputFlags", "PlaceFlags", "WritingFlags", "with_groups"]


@dataclass(frozen=True)
class ModelFlags:
    """Which model, where, in which numbers."""

    model: Model = "nano"
    device: Device = None
    dtype: Dtype = None

    def load(self) -> MPlus:
        """The model, in evaluation mode.

        Raises:
            ConfigError, ModelError: see ``load_model``.
        """
        return load_model(self.model, device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class OutputFlags:
    """How the result is shown."""

    as_json: AsJson = False

    def open(self) -> Output:
        """Where the command writes."""
        return Output(as_json=self.as_json)


@dataclass(frozen=True)
class PlaceFlags:
    """Which memory."""

    memory: MemoryPath = None
    store: Store = None
    id: Id = None
    ram: Ram = None
    typed: frozenset[str] = field(default=frozenset(), metadata={"flag": False})
    """Names of the flags that stand on the command line; the others come from the environment."""

    @property
    def place(self) -> Place:
        """The memory that the flags name: a file, or a name in a store.

        What stands on the command line wins over the environment. Without either it is
        ``default`` in the user's own store.

        Raises:
            UsageError: the flags contradict each other.
        """
        memory, store, id = self.memory, self.store, self.id
        in_store = {"store", "id"} & self.typed
        if "memory" in self.typed and not in_store:
            store = id = None
        elif in_store and "memory" not in self.typed:
            memory = None
        if memory is not None:
            if store is not None or id is not None:
                raise UsageError("Give either --memory FILE, or --store DIR with --id NAME.")
            return Place(memory=memory)
        if "store" in self.typed and id is None:
            raise UsageError("--store DIR also needs --id NAME.")
        own = default_store() if store is None else store
        return Place(store=own, id=DEFAULT_ID if id is None else id, ram=self.ram)

    @contextmanager
    def reading(self, model: MPlus) -> Iterator[Memory]:
        """The memory, to be read; errors as ``Place.reading``."""
        with self.place.reading(model) as memory:
            yield memory


@dataclass(frozen=True)
class WritingFlags(PlaceFlags):
    """Which memory, and how it is made and written to."""

    max_bytes: MaxBytes = None
    rows: Rows = None
    durability: Durability = "full"
    wait: Wait = 0.0
    seed: Seed = 0

    @contextmanager
    def writing(self, model: MPlus) -> Iterator[Memory]:
        """The memory, to be written to; errors as ``Place.writing``."""
        creation = Creation(self.seed, self.max_bytes, self.rows, self.durability)
        with self.place.writing(model, creation, wait=self.wait) as memory:
            yield memory


Command = Callable[..., None]


def with_groups(command: Command) -> Command:
    """The command with a flag for every field of the groups among its parameters."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    shown = [_context()]
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            shown += _flags_of(hints[name])
        else:
            shown.append(parameter.replace(annotation=hints[name]))

    def run(ctx: typer.Context, **given: Any) -> None:
        for name, group in groups.items():
            values = {flag.name: given.pop(flag.name) for flag in _flags_of(group)}
            if "typed" in {one.name for one in fields(group)}:
                values["typed"] = frozenset(flag for flag in values if _is_typed(ctx, flag))
            given[name] = group(**values)
        command(**given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _context() -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter("ctx", kind, annotation=typer.Context)


def _flags_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(one.name, kind, default=one.default, annotation=hints[one.name])
        for one in fields(group)
        if one.metadata.get("flag", True)
    ]


def _is_typed(ctx: typer.Context, flag: str) -> bool:
    source = ctx.get_parameter_source(flag)
    return source is not None and source.name == "COMMANDLINE"
