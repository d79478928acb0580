"""``memplus doctor``: is this model what it claims to be?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from memplus.cli.loading import load_model
from memplus.cli.options import AsJson, Device, Dtype
from memplus.cli.output import Output

__all__ = ["doctor"]


def doctor(
    model: Annotated[
        str,
        typer.Argument(
            envvar="MEMPLUS_MODEL", help="`nano` (bundled), a model's directory, or a hub id."
        ),
    ] = "nano",
    *,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Check a model: weights complete, frequencies sane, oracle, memory on against memory off."""
    from memplus.doctor import examine

    out = Output(as_json=as_json)
    checks = examine(load_model(model, device=device, dtype=dtype))
    healthy = all(check.ok for check in checks)

    def show(console: Console) -> None:
        for check in checks:
            mark = "ok  " if check.ok else "FAIL"
            console.print(f"{mark}  {check.name}: {check.detail}", markup=False)

    data = {"model": model, "healthy": healthy, "checks": [asdict(check) for check in checks]}
    out.result(data, show=show)
    if not healthy:
        raise typer.Exit(1)
