"""``memplus models``: what comes with memplus, what lies in the cache, and what can be fetched."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from memplus.cli.flags import OutputFlags, with_groups
from memplus.cli.options import AsJson
from memplus.cli.output import Output

__all__ = ["models"]

_WIDTH = 88

models = typer.Typer(name="models")


@models.callback(invoke_without_command=True)
def list_all(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the models, and remove cached ones.

    Shown are the bundled models, those in the cache, those that can be fetched, and what else takes
    room in the cache. A base model whose memory is bundled is fetched the first time that it is
    used. `--model` also takes a model's directory or a hub id.
    """
    if ctx.invoked_subcommand is not None:
        return
    out = Output(as_json=as_json)
    bundled, bases, leftovers = _bundled(), _bases(), _leftovers()

    def show(console: Console) -> None:
        for one in bundled:
            _show(console, one, f"{one['bytes'] / 1e6:.1f} MB, bundled", f"It {one['purpose']}.")
        for one in bases:
            memory = (
                "without a trained memory" if one["bundle"] is None else "with a trained memory"
            )
            _show(console, one, _state(one), f"A base model, {memory}: {one['purpose']}.")
        for one in leftovers:
            line = f"{one['name']}: {one['bytes'] / 1e6:.1f} MB in the cache, {one['state']}"
            console.print(line, markup=False)
            also = ", and removes the model" if one["beside_model"] else ""
            console.print(f"  `memplus models remove {one['name']}` frees it{also}.", markup=False)

    out.result({"models": bundled, "bases": bases, "leftovers": leftovers}, show=show)


def _show(console: Console, one: dict[str, Any], state: str, words: str) -> None:
    size = f"{one['parameters'] / 1e6:.1f} million weights"
    console.print(f"{one['name']}: {size}, {state}, {one['licence']}", markup=False)
    console.print(textwrap.indent(textwrap.fill(words, _WIDTH), "  "), markup=False)


def _state(one: dict[str, Any]) -> str:
    if one["path"] is not None:
        state = f"{one['bytes'] / 1e6:.1f} MB in the cache"
    else:
        state = f"not fetched ({one['fetch_bytes'] / 1e6:.1f} MB)"
    bundle = one["bundle"]
    return state if bundle is None else f"{state}, memory bundled ({bundle['bytes'] / 1e6:.1f} MB)"


def _bundled() -> list[dict[str, Any]]:
    from memplus.mplus.bundled import bundled_models

    names = {one: one for one in ("name", "purpose", "parameters", "licence")}
    names["bytes"] = "nbytes"
    return [
        {name: getattr(one, field) for name, field in names.items()} for one in bundled_models()
    ]


def _bases() -> list[dict[str, Any]]:
    from memplus.mplus.base_cache import cached_base
    from memplus.mplus.bases import known_bases
    from memplus.mplus.bundled import bundle_for

    rows: list[dict[str, Any]] = []
    for base in known_bases().values():
        found, bundle = cached_base(base), bundle_for(base.name)
        rows.append(
            {
                "name": base.name,
                "purpose": base.purpose,
                "model": base.model,
                "parameters": base.parameters,
                "licence": base.licence,
                "chat_template": base.chat_template,
                "fetch_bytes": base.nbytes,
                "sha256": base.sha256,
                "path": None if found is None else str(found.path),
                "bytes": 0 if found is None else found.nbytes,
                "bundle": None if bundle is None else _size_of(bundle),
            }
        )
    return rows


def _leftovers() -> list[dict[str, Any]]:
    from memplus.mplus.base_cache import leftovers

    return [
        {
            "name": one.name,
            "state": one.state,
            "path": str(one.path),
            "bytes": one.nbytes,
            "beside_model": one.beside_model,
        }
        for one in leftovers()
    ]


def _size_of(folder: Path) -> dict[str, Any]:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {"path": str(folder), "bytes": size}


@models.command()
@with_groups
def remove(
    name: Annotated[str, typer.Argument(help="A model in the cache, or what is left of one.")],
    *,
    shown: OutputFlags,
) -> None:
    """Remove a model from the cache; `memplus pull` fetches it again."""
    from memplus.mplus.base_cache import remove_base
    from memplus.mplus.bundled import refuse_bundled

    out = shown.open()
    refuse_bundled(name)
    size = remove_base(name)
    line = f"Removed {name} from the cache; {size / 1e6:.1f} MB freed."
    out.result(
        {"removed": name, "bytes": size}, show=lambda console: console.print(line, markup=False)
    )
