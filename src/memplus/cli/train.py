"""``memplus train``: a run from a config, or the bundled model from text files."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memplus.cli.options import AsJson, Device, Seed
from memplus.cli.output import Output
from memplus.cli.training_bar import training_bar
from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.training.engine.loop import Progress
    from memplus.training.masked.runs import AdapterRun
    from memplus.training.text.run_config import TrainingConfig
    from memplus.training.text.runs import TextRun

__all__ = ["train"]

train = typer.Typer(name="train", help="Train a model with memory.")


@train.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None, typer.Option("--config", help="The run, as YAML; see docs/training.md.")
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", help="Text files or patterns instead of the config's."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run instead of the config's.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="Model to start from instead of the config's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps in all instead of the config's.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest checkpoint of the run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model with memory by a config: `memplus train --config configs/cpu/stage1.yaml`.

    A config with `kind: adapter` trains another system's weights: `configs/ret_llm/train.yaml`.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise UsageError("Give --config FILE, or the subcommand `nano`.")
    from memplus.training.engine.config_file import config_kind

    stream = Output(as_json=as_json)
    if config_kind(config) == "adapter":
        if texts or start is not None:
            raise UsageError("An adapter's run takes neither --text nor --start: see its config.")
        run: AdapterRun | TextRun = _adapter_run(config, out, steps, resume=resume)
    else:
        run = _text_run(config, stream, _Changes(texts, out, start, steps), resume=resume)
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


def _adapter_run(config: Path, out: Path | None, steps: int | None, *, resume: bool) -> AdapterRun:
    from memplus.training.masked.run_config import load_adapter_config
    from memplus.training.masked.runs import AdapterRun

    given = load_adapter_config(config)
    run = replace(given.run, out=out or given.run.out, steps=steps or given.run.steps)
    return AdapterRun(replace(given, run=run), resume=resume)


def _text_run(config: Path, stream: Output, changes: _Changes, *, resume: bool) -> TextRun:
    from memplus.training.text.run_config import load_config
    from memplus.training.text.runs import TextRun

    given = _changed(load_config(config), changes)
    with stream.progress() as report:

        def tokenised(documents: int) -> None:
            report("documents tokenised", documents, documents)

        return TextRun(given, resume=resume, tokenised=tokenised)


def _changed(config: TrainingConfig, changes: _Changes) -> TrainingConfig:
    """The config with what the command line says otherwise."""
    if changes.texts:
        data = replace(config.data, texts=tuple(changes.texts), stream=None)
        config = replace(config, data=data)
    if changes.start is not None:
        model = replace(config.model, start=changes.start, backbone=None, fresh=None)
        config = replace(config, model=model)
    run = config.run
    run = replace(run, out=changes.out or run.out, steps=changes.steps or run.steps)
    return replace(config, run=run)


def _show(stream: Output, final: Path, last: list[Progress]) -> None:
    if int(os.environ.get("RANK", "0")):
        return  # of several processes the first one speaks
    data = {"model": str(final), "last": asdict(last[0]) if last else None}
    stream.result(
        data, show=lambda console: console.print(f"The model is in {final}.", markup=False)
    )


@train.command()
def nano(
    texts: Annotated[
        list[Path], typer.Argument(help="Text files; `.gz` and `.jsonl` are read too.")
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; the model ends up in OUT/final.")
    ] = Path("runs/nano"),
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps in all.")] = 4000,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="A recipe (YAML) instead of the bundled one.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="A model to start from, of the same sizes.")
    ] = None,
    stage: Annotated[
        int, typer.Option("--stage", min=0, help="Stage of the recipe to begin with.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint in OUT.")
    ] = False,
    device: Device = None,
    makers: Annotated[
        int,
        typer.Option("--makers", min=0, help="Processes that make episodes ahead of the steps."),
    ] = 0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train the bundled model from nothing on text files and made-up notes."""
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
