"""``memplus ask``: a question to a saved memory."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from memplus.cli.opening import Place, load_model
from memplus.cli.options import AsJson, Device, Dtype, Id, MemoryPath, Model, Ram, Store
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.mplus.evidence import Evidence

__all__ = ["ask"]

_QUOTED = 400
"""Most characters of a quote."""


def ask(
    question: Annotated[str, typer.Argument(help="In plain words.")],
    *,
    memory: MemoryPath = None,
    store: Store = None,
    id: Id = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also show which writes the answer drew on.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Most tokens of the answer.")
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(
            "--min-confidence", min=0, max=1, help="Withhold an answer of less confidence."
        ),
    ] = 0.0,
    ram: Ram = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Ask a saved memory; the memory stays as it is."""
    out = Output(as_json=as_json)
    place = Place(memory, store, id, ram=ram)
    loaded = load_model(model, device=device, dtype=dtype)
    with place.reading(loaded) as source:
        answer = loaded.ask(
            source, question, max_new_tokens=max_new_tokens, min_confidence=min_confidence
        )

    def show(console: Console) -> None:
        console.print(answer.text, markup=False)
        if answer.withheld:
            note = f"  withheld, confidence {answer.confidence:.2f}: {answer.withheld}"
            console.print(note, markup=False)
        for one in answer.evidence if evidence else []:
            _show_evidence(console, one)

    out.result({"question": question, **asdict(answer)}, show=show)


def _show_evidence(console: Console, one: Evidence) -> None:
    """Source and position, and what was written there as a quote."""
    place = f"{one.source}, tokens {one.start} to {one.start + one.tokens}"
    if one.first_char is not None:
        place += f", characters {one.first_char} to {one.first_char + len(one.text)}"
    if one.write_id is None:
        place += ", not yet written"
    named = "rows that came with the model" if one.write_id == 0 else place
    console.print(f"  {100 * one.share:4.0f}%  {named}", markup=False)
    if one.text:
        quote = textwrap.shorten(one.text, _QUOTED, placeholder=" …")
        console.print(Text(f"         {quote}", style="italic"))
