"""``memplus doctor``: is this model what it claims to be?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from memplus.cli.opening import load_model
from memplus.cli.options import AsJson, Device, Dtype, Model
from memplus.cli.output import Output

__all__ = ["doctor"]


def doctor(
    name: Annotated[
        str | None, typer.Argument(help="The model; another way to say `--model`.")
    ] = None,
    *,
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Check a model: weights complete, frequencies sane, oracle, memory on against memory off."""
    from memplus.mplus.doctor import examine

    out = Output(as_json=as_json)
    chosen = name or model
    checks = examine(load_model(chosen, device=device, dtype=dtype))
    healthy = all(check.ok for check in checks)

    def show(console: Console) -> None:
        for check in checks:
            mark = "ok  " if check.ok else "FAIL"
            console.print(f"{mark}  {check.name}: {check.detail}", markup=False)

    data = {
        "model": name or model,
        "healthy": healthy,
        "checks": [asdict(check) for check in checks],
    }
    out.result(data, show=show)
    if not healthy:
        raise typer.Exit(1)
