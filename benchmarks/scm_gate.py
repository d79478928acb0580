"""How often a model's yes-or-no controller is right, with a threshold chosen on other pairs.

    python benchmarks/scm_gate.py --model smollm2 --questions SQUAD.json.gz [--weights FOLDER]

Question 2 (can this be answered from this text?) is asked of SQuAD 2.0: a paragraph with its own
questions, and with look-alikes and questions about other articles. Question 1 (is anything told
earlier needed?) is asked of made-up notes and of requests that need nothing. Both with the letters
A and B swapped and averaged. The thresholds are chosen on articles and wordings for training; the
figures are of those held out. The last line is JSON; ``--out`` keeps it as a file, which the system
`scm` reads from its assets (MODEL-plain.json or MODEL-tuned.json).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from shapes import add_device

from memplus import MPlus
from memplus.data.answerable import draw_judged, read_answerable
from memplus.data.notes import make_notes
from memplus.data.requests import make_requests
from memplus.evaluation.engine.summary import wilson
from memplus.systems.scm.calibration import Measured, best_threshold, right_at
from memplus.systems.scm.controller import Margins
from memplus.systems.scm.tuned import tuned_lora
from memplus.systems.scm.voice import Voice
from memplus.systems.shared import Shared

__all__ = ["main"]

Split = Literal["train", "held_out"]
Pairs = tuple[list[float], list[float]]
"""Margins where yes is right, and where no is."""


def of_answers(margins: Margins, path: Path, split: Split, each: int) -> Pairs:
    """Margins of question 2."""
    yes: list[float] = []
    no: list[float] = []
    started = time.monotonic()
    for one in draw_judged(read_answerable(path, split), each, seed=0):
        found = margins.answers(one.text, list(one.questions))
        for margin, answered in zip(found, one.answered, strict=True):
            (yes if answered else no).append(margin)
        print(f"{split} {len(yes)}+{len(no)} {time.monotonic() - started:.0f} s", file=sys.stderr)
    return yes, no


def of_gate(margins: Margins, split: Split, each: int) -> Pairs:
    """Margins of question 1."""
    yes = [margins.gate(note.question) for note in make_notes(f"gate/{split}", each, split)]
    no = [margins.gate(request) for request in make_requests(f"gate/{split}", each)]
    return yes, no


def measured(chosen_on: Pairs, held_out: Pairs) -> Measured:
    """A threshold from some pairs, and how often it is right on others."""
    threshold = best_threshold(*chosen_on)
    pairs = sum(len(side) for side in held_out)
    right = right_at(threshold, *held_out)
    low, high = wilson(right, pairs)
    return Measured(threshold, right / pairs, low, high, pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2")
    add_device(parser)
    parser.add_argument("--questions", type=Path, required=True, help="SQuAD 2.0 as published")
    parser.add_argument("--weights", default="", help="folder of a tuned controller's adapter")
    parser.add_argument("--each", type=int, default=600, help="pairs of either answer in each part")
    parser.add_argument("--gate-each", type=int, default=200, help="the same of question 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    shared = Shared(
        lambda: MPlus.from_pretrained(given.model, dtype=torch.float32, device=given.device)
    )
    lora = tuned_lora(shared.mplus, given.weights) if given.weights else None
    margins = Margins(Voice(shared, lora=lora))
    answers = measured(
        of_answers(margins, given.questions, "train", given.each),
        of_answers(margins, given.questions, "held_out", given.each),
    )
    gate = measured(
        of_gate(margins, "train", given.gate_each), of_gate(margins, "held_out", given.gate_each)
    )
    for name, one in (("question 2", answers), ("question 1", gate)):
        print(f"{name}: right in {one.accuracy:.1%} of {one.pairs} held-out pairs", end=" ")
        print(f"[{one.low:.1%}, {one.high:.1%}], threshold {one.threshold:.4f}")
    found = json.dumps({"answers": asdict(answers), "gate": asdict(gate)})
    if given.out:
        given.out.write_text(found + "\n")
    print(found)


if __name__ == "__main__":
    main()
