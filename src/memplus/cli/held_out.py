"""Held-out passages and statements, as flags name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from memplus.data.passages import PassageQuestions
    from memplus.evaluation.tasks.held_out import HeldOut
    from memplus.evaluation.tasks.told import Item

__all__ = ["Nq", "Squad", "held_out_pool"]

Squad = Annotated[Path | None, typer.Option("--squad", help="SQuAD file, as published.")]
Nq = Annotated[
    Path | None, typer.Option("--nq", help="Natural Questions with gold passages, as JSON Lines.")
]


def held_out_pool(
    squad: Path | None, nq: Path | None, distances: tuple[int, ...], corrected: tuple[int, ...]
) -> HeldOut:
    """What is held out of the given sets and of the bundled statements.

    Args:
        squad: a SQuAD file.
        nq: a Natural Questions file.
        distances: at which it is asked.
        corrected: at which corrections are asked; none: no corrections.

    Raises:
        NotFoundError, StorageError: a file is not there, or cannot be read.
        QuestionSetError: it is something else.
    """
    from memplus.data.passages import read_nq, read_squad
    from memplus.evaluation.tasks.held_out import HeldOut, passage_items, statement_items

    items: list[Item] = []
    others: list[PassageQuestions] = []
    for kind, path, read in (("SQuAD", squad, read_squad), ("NQ", nq, read_nq)):
        if path is not None:
            items += passage_items(kind, read(path, "held_out"), distances)
            others += read(path, "all")
    return HeldOut((*items, *statement_items(distances, corrected)), tuple(others))
