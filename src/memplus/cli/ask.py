"""``memplus ask``: questions to a memory."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from memplus.cli.flags import ModelFlags, OutputFlags, PlaceFlags, with_groups
from memplus.cli.output import print_piece
from memplus.data.documents import read_document, read_stdin
from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.mplus.evidence import Evidence

__all__ = ["ask"]

_QUOTED = 400
"""Most characters of a quote."""


@with_groups
def ask(
    question: Annotated[
        list[str] | None, typer.Argument(help="In plain words; several are answered together.")
    ] = None,
    *,
    place: PlaceFlags,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="File with one question per line; `-` is standard input."),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also show which writes the answer drew on.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Maximum tokens per answer.")
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            help="Withhold answers below this confidence. Default: the model's own threshold.",
        ),
    ] = None,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Ask questions of a memory, without changing it."""
    out = shown.open()
    asked = _asked(question or [], questions)
    model = chosen.load()
    limits: dict[str, Any] = {"max_new_tokens": max_new_tokens, "min_confidence": min_confidence}
    alone = len(asked) == 1 and questions is None
    streamed = alone and not out.as_json and sys.stdout.isatty()
    with place.reading(model) as opened:
        if streamed:
            answers = [model.ask(opened, asked[0], stream=print_piece, **limits)]
            print_piece("\n")
        else:
            answers = model.ask(opened, asked, **limits)
    found = [{"question": one, **asdict(answer)} for one, answer in zip(asked, answers)]

    def show(console: Console) -> None:
        for one, answer in zip(asked, answers):
            if not alone:
                console.print(one, markup=False)
            if not streamed:
                console.print(answer.text if alone else f"  {answer.text}", markup=False)
            if answer.withheld and (evidence or min_confidence is not None):
                note = f"  withheld, confidence {answer.confidence:.2f}: {answer.withheld}"
                console.print(note, markup=False)
            for ground in answer.evidence if evidence else []:
                _show_evidence(console, ground)

    out.result(found[0] if alone else {"answers": found}, show=show)


def _asked(arguments: list[str], file: Path | None) -> list[str]:
    """The questions, in order.

    Raises:
        UsageError: there is none.
        NotFoundError, NotTextError, EmptyTextError: the file cannot be used.
    """
    if file is None:
        if not arguments:
            raise UsageError("Give a question, or --questions FILE.")
        return arguments
    document = read_stdin() if str(file) == "-" else read_document(file)
    return [*arguments, *(line.strip() for line in document.text.splitlines() if line.strip())]


def _show_evidence(console: Console, one: Evidence) -> None:
    """Source and position, and what was written there as a quote."""
    place = f"{one.source}, tokens {one.start} to {one.start + one.tokens}"
    if one.first_char is not None:
        place += f", characters {one.first_char} to {one.first_char + len(one.text)}"
    if one.write_id is None:
        place += ", not yet compressed"
    named = "rows that came with the model" if one.write_id == 0 else place
    console.print(f"  {100 * one.share:4.0f}%  {named}", markup=False)
    if one.text:
        quote = textwrap.shorten(one.text, _QUOTED, placeholder=" …")
        console.print(Text(f"         {quote}", style="italic"))
