"""How often a model's yes-or-no controller is right, with a threshold chosen on other pairs.

    python benchmarks/scm_gate.py --model smollm2 --questions SQUAD.json.gz [--weights FOLDER]

Question 2 (can this be answered from this text?) is asked of SQuAD 2.0: a paragraph with its own
questions, and with look-alikes and questions about other articles. Question 1 (is anything told
earlier needed?) is asked of questions about notes, statements, facts and articles, as many of each,
and of requests that need nothing. Both with the letters A and B swapped and averaged. The
thresholds are chosen on articles, topics and wordings for training; the figures are of those held
out. The last line is JSON; ``--out`` keeps it as a file, which the system `scm` reads from its
assets (MODEL-plain.json or MODEL-tuned.json). With ``--question`` one of the two is asked, and what
the file says of the other stays.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Literal

import torch
from shapes import add_device

from memplus import MPlus
from memplus.data.answerable import draw_judged, read_answerable
from memplus.data.made_facts import MadeFacts
from memplus.data.notes import make_notes
from memplus.data.requests import make_requests
from memplus.data.statements import HELD_OUT_TOPICS, read_statements, statement_topics
from memplus.evaluation.engine.summary import wilson
from memplus.systems.scm.calibration import Measured, best_threshold, right_at
from memplus.systems.scm.controller import Margins
from memplus.systems.scm.tuned import tuned_lora
from memplus.systems.scm.voice import Voice
from memplus.systems.shared import Shared

__all__ = ["main"]

Split = Literal["train", "held_out"]
_QUESTIONS = {1: "gate", 2: "answers"}
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


def of_gate(margins: Margins, path: Path, split: Split, each: int) -> Pairs:
    """Margins of question 1."""
    started = time.monotonic()
    yes = [margins.gate(one) for one in needing_memory(path, split, each)]
    no = [margins.gate(one) for one in make_requests(f"gate/{split}", each)]
    print(f"{split} {len(yes)}+{len(no)} {time.monotonic() - started:.0f} s", file=sys.stderr)
    return yes, no


def needing_memory(path: Path, split: Split, count: int) -> list[str]:
    """Questions about what was told: notes, statements, facts and articles in turn."""
    seed = f"gate/{split}"
    share = -(-count // 4)
    topics = [one for one in statement_topics() if (one in HELD_OUT_TOPICS) == (split != "train")]
    statements = [asked.question for one in read_statements(topics) for asked in one.questions]
    articles = [asked for one in read_answerable(path, split) for asked in one.answerable]
    facts = MadeFacts(seed)
    random = Random(seed)
    kinds = (
        [one.question for one in make_notes(seed, share, split)],
        random.sample(statements, share),
        [facts.fact(index).questions[0].question for index in range(share)],
        random.sample(articles, min(share, len(articles))),
    )
    return [kind[place] for place in range(share) for kind in kinds if place < len(kind)][:count]


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
    parser.add_argument("--question", type=int, choices=sorted(_QUESTIONS), help="only this one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    shared = Shared(
        lambda: MPlus.from_pretrained(given.model, dtype=torch.float32, device=given.device)
    )
    lora = tuned_lora(shared.mplus, given.weights) if given.weights else None
    margins = Margins(Voice(shared, lora=lora))
    chosen = ("gate", "answers") if given.question is None else (_QUESTIONS[given.question],)
    found = _kept(given.out) if len(chosen) == 1 else {}
    for name in chosen:
        of, each = (of_gate, given.gate_each) if name == "gate" else (of_answers, given.each)
        one = measured(
            of(margins, given.questions, "train", each),
            of(margins, given.questions, "held_out", each),
        )
        print(f"{name}: right in {one.accuracy:.1%} of {one.pairs} held-out pairs", end=" ")
        print(f"[{one.low:.1%}, {one.high:.1%}], threshold {one.threshold:.4f}")
        found[name] = asdict(one)
    content = json.dumps(found)
    if given.out:
        given.out.write_text(content + "\n")
    print(content)


def _kept(out: Path | None) -> dict[str, object]:
    return dict(json.loads(out.read_text())) if out and out.is_file() else {}


if __name__ == "__main__":
    main()
