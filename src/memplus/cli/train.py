"""``memplus train nano``: the bundled model, trained from text files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memplus.cli.options import AsJson, Seed
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.training.trainer import Progress

__all__ = ["train"]

_EVERY = 25

train = typer.Typer(name="train", help="Train a model with memory.", no_args_is_help=True)


@train.callback()
def root() -> None:
    """Train a model with memory."""


@train.command()
def nano(
    texts: Annotated[
        list[Path], typer.Argument(help="Text files; `.gz` and `.jsonl` are read too.")
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; the model ends up in OUT/final.")
    ] = Path("runs/nano"),
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps in all.")] = 6000,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="A recipe (TOML) instead of the bundled one.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="A model to go on from, of the same sizes.")
    ] = None,
    stage: Annotated[
        int, typer.Option("--stage", min=0, help="Stage of the recipe to begin with.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in OUT.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train the bundled model from nothing on text files and made-up notes."""
    from memplus.training.nano import RECIPE, NanoRun, train_nano

    out_stream = Output(as_json=as_json)
    last: dict[str, Progress] = {}

    def progress(now: Progress) -> None:
        last["step"] = now
        if now.step % _EVERY == 0:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in now.figures.items())
            out_stream.note(
                f"{now.step}/{now.steps} {now.stage}: {figures}; "
                f"{now.tokens_per_second:,.0f} tokens/s, {now.seconds_left / 60:.0f} min left"
            )

    run = NanoRun(
        texts=texts,
        out=out,
        steps=steps,
        seed=seed,
        recipe=recipe or RECIPE,
        start=start,
        stage=stage,
    )
    train_nano(run, resume=resume, progress=progress)
    final = out / "final"
    data = {"model": str(final), "last": asdict(last["step"]) if last else None}
    out_stream.result(
        data, show=lambda console: console.print(f"The model is in {final}.", markup=False)
    )
