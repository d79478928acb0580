"""Benchmarks from Python: what ``memplus bench`` does, on a model named or already loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memplus.data.corpus import read_texts
from memplus.errors import MemplusError
from memplus.evaluation.benchmark import Benchmark, run_benchmark
from memplus.evaluation.benchmark_tables import put_table
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.evaluation.tasks.registry import task_class
from memplus.fields import changed, with_options
from memplus.mplus.model import MPlus
from memplus.systems.registry import BY_NAME_ALONE, described, make_systems, usual_systems
from memplus.systems.shared import Shared

__all__ = ["make_inputs", "make_task", "open_systems", "run_bench", "servable"]


def run_bench(
    task: str | BenchTask,
    systems: Sequence[str] | None = None,
    model: str | MPlus = "smollm2",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    small: bool = False,
) -> Benchmark:
    """Run a benchmark on systems, or resume it, and return its figures.

    Args:
        task: a name of ``memplus bench list``, or a task with its options.
        systems: names with their options (``bm25:k=4``); None: the model's memory and none.
        model: a name, a directory, a hub id, or a model that is loaded.
        data: folder of question sets and books; None: ``MEMPLUS_DATA``, or ``data``.
        out: folder of the results; None: ``runs/bench/TASK``.
        small: the size for ten minutes, of a task that is named.

    Raises:
        ConfigError: a task, a system or an option is unknown.
        MissingDataError: a file of the task is not there.
        RunMismatchError: the folder holds another run.
        ModelError: the model cannot be loaded.
    """
    made = make_task(task, {}, small=small) if isinstance(task, str) else task
    shared = Shared(lambda: MPlus.from_pretrained(model) if isinstance(model, str) else model)
    opened = open_systems(systems, shared)
    folder = Path(data or os.environ.get("MEMPLUS_DATA") or "data")
    target = Path(out) if out else Path("runs/bench") / made.name
    inputs = make_inputs(shared, folder, None)
    found = run_benchmark(opened.systems, made, inputs, target, lambda *_: None)
    put_table(target)
    return found


def make_task(name: str, options: Mapping[str, str], *, small: bool, **values: Any) -> BenchTask:
    """A task by its name, with its defaults or its small size, changed where something is given.

    Args:
        name: of the registry.
        options: its fields as text.
        small: whether the others are those of the small size.
        values: more of its fields, as they are; None: not given.

    Raises:
        ConfigError: there is no such task, it has no such option, or not with that value.
    """
    kind = task_class(name)
    usual = changed(kind.small()) if small else {}
    # All at once: whether one option can be served may depend on another.
    return with_options(kind, name, {**_as_texts(usual), **options, **_as_texts(values)})


def _as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as they would stand on a command line, where there are any."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
        if value is not None
    }


def open_systems(systems: Sequence[str] | None, shared: Shared) -> Bench:
    """Systems by their names over one model, and its tokenizer as the one that counts.

    Raises:
        ConfigError: a system is unknown, or the model cannot serve it.
        ModelError: it cannot be loaded.
    """
    made = usual_systems(shared) if systems is None else make_systems(systems, shared)
    return Bench(made, shared.reference)


def servable(shared: Shared) -> tuple[list[str], dict[str, str]]:
    """The registered systems that run where all are asked for, and why the others do not.

    Args:
        shared: the model.
    """
    names: list[str] = []
    reasons: dict[str, str] = {}
    for one in described():
        name = str(one["name"])
        try:
            if name in BY_NAME_ALONE:
                reasons[name] = BY_NAME_ALONE[name]
            elif one["missing"]:
                reasons[name] = f"missing: {one['missing']}"
            else:
                make_systems([name], shared)[0].open(0)
                names.append(name)
        except MemplusError as error:  # it lacks something, or the layers are of another kind
            reasons[name] = error.message
    return names, reasons


def make_inputs(shared: Shared, data: Path, texts: Sequence[Path] | None) -> Inputs:
    """What plans are made of: the same, whichever systems are compared.

    Args:
        shared: whose tokens are counted; questions fall on multiples of its memory's chunks.
        data: folder of question sets and books.
        texts: prose; None: the Book-SORT books of that folder, or Python's own documentation
            where these are not there.
    """

    def prose() -> list[str]:
        files = texts or sorted((data / "booksort" / "books").glob("*.txt.gz"))
        return list(read_texts(files)) if files else [language_documentation()]

    chunk = shared.mplus.memory_config.chunk_tokens
    return Inputs(data, shared.reference, chunk, prose, {shared.dtype: shared.digest("base")})
