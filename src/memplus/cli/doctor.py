"""``memplus doctor``: is this model what it claims to be?"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Console

from memplus.cli.flags import ModelFlags, OutputFlags, with_groups
from memplus.cli.opening import load_to_examine

__all__ = ["doctor"]


@with_groups
def doctor(
    name: Annotated[str | None, typer.Argument(help="The model; same as `--model`.")] = None,
    *,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Check a model's weights and frequencies, and whether it reads rows and memories correctly.

    A base model without a trained memory is checked with a new, untrained one.
    """
    out = shown.open()
    chosen = replace(chosen, model=name or chosen.model)
    from memplus.mplus.doctor import examine

    checks = examine(load_to_examine(chosen.model, device=chosen.device, dtype=chosen.dtype))
    healthy = all(check.ok for check in checks)

    def show(console: Console) -> None:
        for check in checks:
            mark = "ok  " if check.ok else "FAIL"
            console.print(f"{mark}  {check.name}: {check.detail}", markup=False)

    data = {
        "model": chosen.model,
        "healthy": healthy,
        "checks": [asdict(check) for check in checks],
    }
    out.result(data, show=show)
    if not healthy:
        raise typer.Exit(1)
