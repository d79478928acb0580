"""Export what every system here is told and asked: the plan of ``memplus eval table``'s streams.

    python benchmarks/peers/plan.py --squad data/squad/dev-v2.0.json.gz --out runs/peers/plan.jsonl

Held-out statements, and with ``--squad`` held-out passages, are told a few sentences apart in
Python's own documentation (``memplus.evaluation.tasks.told``). Questions fall on multiples of
``--border`` tokens: a peer that reads its whole context anew for each asking then does so once or
twice. Questions about what was never told are left out, since the peers have no way to decline.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lines import FORMAT

from memplus import MPlus
from memplus.data.passages import read_squad
from memplus.data.stream import Texts
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.evaluation.tasks.held_out import HeldOut, passage_items, statement_items
from memplus.evaluation.tasks.told import Telling, told_plan
from memplus.systems.shared import Shared


def main() -> None:
    """Write the plan and say what is in it."""
    given = _arguments()
    model = MPlus.from_pretrained(given.model).eval()
    telling = _telling(given.squad, given.items, given.distance, given.seed)
    texts = Texts.of([language_documentation()], Shared(lambda: model).reference)
    plan = told_plan(texts, given.border, telling, given.seed)
    header = {
        "format": FORMAT,
        "what": "plan",
        "model": given.model,
        "seed": given.seed,
        "tokens": plan.tokens,
        "weights": str(model.origin.path) if model.origin else None,
    }
    lines = [header, *_lines(plan, telling, Shared(lambda: model))]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    given.out.write_text(text, encoding="utf-8")
    asked = [one.kind for one in plan.questions]
    kinds = ", ".join(f"{asked.count(kind)} {kind}" for kind in dict.fromkeys(asked))
    print(f"{given.out}: {plan.tokens} tokens, questions at {_borders(plan)}: {kinds}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2", help="whose tokens are counted")
    parser.add_argument("--squad", type=Path, help="SQuAD, as published")
    parser.add_argument("--items", type=int, default=8, help="told of each kind")
    parser.add_argument("--distance", type=int, default=256, help="tokens before a question")
    parser.add_argument("--border", type=int, default=3072, help="tokens between two askings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/peers/plan.jsonl"))
    return parser.parse_args()


def _telling(squad: Path | None, items: int, distance: int, seed: int) -> Telling:
    kept = statement_items((distance,), ())
    others = []
    if squad is not None:
        kept += passage_items("SQuAD", read_squad(squad, "held_out"), (distance,))
        others = read_squad(squad, "all")
    dealt = HeldOut(kept, tuple(others)).deal(items, seed)
    return Telling(dealt.items, (), dealt.others)


def _lines(plan: Plan, telling: Telling, shared: Shared) -> Iterator[dict[str, Any]]:
    for step in plan.steps:
        counts = [len(ends) for ends in shared.reference(list(step.pieces))]
        for piece, tokens in zip(step.pieces, counts, strict=True):
            yield {"write": piece, "tokens": tokens}
        if step.questions:
            yield {"ask": [_question(one, telling) for one in step.questions]}


def _question(question: Question, telling: Telling) -> dict[str, Any]:
    index = int(question.key.split("/")[1])
    return {
        "key": question.key,
        "kind": question.kind,
        "question": question.text,
        "answers": list(question.answers),
        "told": telling.items[index].text,
        "distance": question.distance,
    }


def _borders(plan: Plan) -> str:
    written, found = 0, []
    for step in plan.steps:
        written += step.tokens
        found += [written] if step.questions else []
    return ", ".join(map(str, found))


if __name__ == "__main__":
    main()
