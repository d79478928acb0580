"""``memplus models``: the models that come with memplus, and what each is for."""

from __future__ import annotations

import textwrap

from rich.console import Console

from memplus.cli.flags import OutputFlags, with_groups

__all__ = ["models"]

_WIDTH = 88


@with_groups
def models(*, shown: OutputFlags) -> None:
    """List the bundled models. `--model` also takes a model's directory or a hub id."""
    from memplus.mplus.bundled import bundled_models

    out = shown.open()
    found = bundled_models()

    def show(console: Console) -> None:
        for one in found:
            console.print(
                f"{one.name}: {one.parameters / 1e6:.1f} million weights, "
                f"{one.nbytes / 1e6:.1f} MB, {one.licence}",
                markup=False,
            )
            indented = textwrap.indent(textwrap.fill(f"It {one.purpose}.", _WIDTH), "  ")
            console.print(indented, markup=False)

    names = ("name", "purpose", "parameters", "licence", "nbytes")
    rows = [{name: getattr(one, name) for name in names} for one in found]
    out.result({"models": [{**row, "bytes": row.pop("nbytes")} for row in rows]}, show=show)
