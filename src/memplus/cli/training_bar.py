"""The bar of a training run: where it is, its loss, how fast it goes and how long it will take."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from memplus.training.engine.loop import Progress

__all__ = ["training_bar"]

_EVERY = 25
"""Steps between two lines where there is no terminal to draw a bar on."""


class _TimeLeft(ProgressColumn):
    """By the run's own reckoning, which counts the steps of this start alone."""

    def render(self, task: Task) -> Text:
        """Hours, minutes and seconds."""
        seconds = int(task.fields["left"])
        return Text(f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left")


@contextlib.contextmanager
def training_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """What to call after every step; a bar on a terminal, a line now and then elsewhere."""
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:,.0f} tokens/s"),
        _TimeLeft(),
        console=console,
    )
    drawn = console.is_terminal
    only = bars.add_task("starting", total=None, loss=0.0, speed=0.0, left=0.0, visible=False)

    def report(now: Progress) -> None:
        loss = now.figures.get("loss", float("nan"))
        if drawn:
            bars.update(
                only,
                description=now.label,
                completed=now.step,
                total=now.steps,
                loss=loss,
                speed=now.tokens_per_second,
                left=now.seconds_left,
                visible=True,
            )
        elif now.step % _EVERY == 0 or now.step == now.steps:
            # Those of single layers are for the log alone.
            shown = {n: v for n, v in now.figures.items() if not n.rpartition(".")[2].isdigit()}
            figures = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
            console.print(
                f"{now.step}/{now.steps} {now.label}: {figures}; "
                f"{now.tokens_per_second:,.0f} tokens/s, {now.seconds_left / 60:.0f} min left",
                markup=False,
            )

    with bars if drawn else contextlib.nullcontext():
        yield report
