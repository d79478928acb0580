"""``memplus train``: a run from a config, or the bundled model from text files."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memplus.cli.options import AsJson, Device, Seed
from memplus.cli.output import Output
from memplus.cli.train_average import average
from memplus.cli.train_finish import finish
from memplus.cli.train_superseding import superseding
from memplus.cli.training_bar import training_bar
from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.training.engine.loop import Progress
    from memplus.training.latent.run_config import SystemRunConfig
    from memplus.training.latent.runs import SystemRun
    from memplus.training.masked.runs import AdapterRun
    from memplus.training.text.run_config import DataConfig, TrainingConfig
    from memplus.training.text.runs import TextRun

__all__ = ["train"]

train = typer.Typer(name="train")


@train.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of the run; see docs/training.md.")
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", help="Text files or glob patterns, instead of the config's."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Output folder, instead of the config's.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="Model to start from, instead of the config's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Total steps, instead of the config's.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the run's newest checkpoint.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model with memory.

    By a config: `memplus train --config configs/cpu/stage1.yaml`. A config with `kind: adapter` or
    `kind: system` trains another system's weights: `configs/ret_llm/train.yaml`,
    `configs/hmt/stage1.yaml`.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise UsageError("Give --config FILE, or a subcommand: nano, average, superseding, finish.")
    from memplus.training.engine.config_file import config_kind

    stream = Output(as_json=as_json)
    kind, changes = config_kind(config), _Changes(texts, out, start, steps)
    if kind == "adapter":
        if texts or start is not None:
            raise UsageError(
                "An adapter run takes neither --text nor --start; set these in its config."
            )
        run: AdapterRun | SystemRun | TextRun = _adapter_run(config, out, steps, resume=resume)
    elif kind == "system":
        run = _system_run(config, stream, changes, resume=resume)
    else:
        run = _text_run(config, stream, changes, resume=resume)
    last: list[Progress] = []
    with training_bar(stream.notes) as bar:

        def progress(now: Progress) -> None:
            last[:] = [now]
            bar(now)

        final = run.run(progress)
    _show(stream, final, last)


@dataclass(frozen=True)
class _Changes:
    """What the command line says otherwise than a config."""

    texts: list[str] | None
    out: Path | None
    start: str | None
    steps: int | None


@contextlib.contextmanager
def _tokenising(stream: Output) -> Iterator[Callable[[int], None]]:
    """What to call with the number of documents tokenised so far."""
    with stream.progress() as report:

        def tokenised(documents: int) -> None:
            report("tokenised documents", documents, documents)

        yield tokenised


def _texts(data: DataConfig, changes: _Changes) -> DataConfig:
    """The texts, those of the command line where there are any."""
    return replace(data, texts=tuple(changes.texts), stream=None) if changes.texts else data


def _adapter_run(config: Path, out: Path | None, steps: int | None, *, resume: bool) -> AdapterRun:
    from memplus.training.masked.run_config import load_adapter_config
    from memplus.training.masked.runs import AdapterRun

    given = load_adapter_config(config)
    run = replace(given.run, out=out or given.run.out, steps=steps or given.run.steps)
    return AdapterRun(replace(given, run=run), resume=resume)


def _system_run(config: Path, stream: Output, changes: _Changes, *, resume: bool) -> SystemRun:
    from memplus.training.latent.run_config import load_system_config
    from memplus.training.latent.runs import SystemRun

    given = _changed_system(load_system_config(config), changes)
    with _tokenising(stream) as tokenised:
        return SystemRun(given, resume=resume, tokenised=tokenised)


def _changed_system(config: SystemRunConfig, changes: _Changes) -> SystemRunConfig:
    """The config with what the command line says otherwise; a start is a folder of weights."""
    start = config.start if changes.start is None else Path(changes.start)
    run = config.run
    run = replace(run, out=changes.out or run.out, steps=changes.steps or run.steps)
    return replace(config, data=_texts(config.data, changes), start=start, run=run)


def _text_run(config: Path, stream: Output, changes: _Changes, *, resume: bool) -> TextRun:
    from memplus.training.text.run_config import load_config
    from memplus.training.text.runs import TextRun

    given = _changed(load_config(config), changes)
    with _tokenising(stream) as tokenised:
        return TextRun(given, resume=resume, tokenised=tokenised)


def _changed(config: TrainingConfig, changes: _Changes) -> TrainingConfig:
    """The config with what the command line says otherwise."""
    config = replace(config, data=_texts(config.data, changes))
    if changes.start is not None:
        model = replace(config.model, start=changes.start, backbone=None, fresh=None)
        config = replace(config, model=model)
    run = config.run
    run = replace(run, out=changes.out or run.out, steps=changes.steps or run.steps)
    return replace(config, run=run)


def _show(stream: Output, final: Path, last: list[Progress]) -> None:
    if int(os.environ.get("RANK", "0")):
        return  # of several processes the first one speaks
    data = {"model": str(final), "last": _values(last[0]) if last else None}
    stream.result(
        data, show=lambda console: console.print(f"The model is in {final}.", markup=False)
    )


def _values(now: Progress) -> dict[str, Any]:
    """As plain values; a figure of what the step had nothing of is no number and left out."""
    figures = {name: value for name, value in now.figures.items() if math.isfinite(value)}
    return asdict(replace(now, figures=figures))


@train.command()
def nano(
    texts: Annotated[list[Path], typer.Argument(help="Text files, also `.gz` or `.jsonl`.")],
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Output folder; the model is saved in OUT/final.")
    ] = Path("runs/nano"),
    steps: Annotated[int, typer.Option("--steps", min=1, help="Total steps.")] = 2500,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="Recipe (YAML) to use instead of the bundled one."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="Model to start from; needs the recipe's sizes.")
    ] = None,
    stage: Annotated[int, typer.Option("--stage", min=0, help="Recipe stage to begin with.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint in OUT.")
    ] = False,
    device: Device = None,
    makers: Annotated[
        int,
        typer.Option("--makers", min=0, help="Processes that prepare episodes ahead of the steps."),
    ] = 0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train the bundled model from scratch on text files and generated notes."""
    from memplus.training.notes.nano import RECIPE, NanoRun, train_nano

    stream = Output(as_json=as_json)
    last: list[Progress] = []
    run = NanoRun(
        texts=texts,
        out=out,
        steps=steps,
        seed=seed,
        recipe=recipe or RECIPE,
        start=start,
        stage=stage,
        device=device,
        makers=makers,
    )
    with training_bar(stream.notes) as bar:

        def progress(now: Progress) -> None:
            last[:] = [now]
            bar(now)

        train_nano(run, resume=resume, progress=progress)
    _show(stream, out / "final", last)


train.command()(average)
train.command()(superseding)
train.command()(finish)
