"""What a memory still answers of many short texts, each of a source of its own.

    python benchmarks/short_texts.py --model smollm2
    python benchmarks/short_texts.py --model qwen-0.5b --in-memory 12 --statements 24

Held-out statements are told, so many to a memory, dealt as ``memplus eval table`` deals them.
Sources never share a chunk, so each is compressed by itself, and its questions are asked once the
memory is told. The first question about each statement is also put to the memory before, which was
never told it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from telling import is_right

from memplus import Memory, MPlus
from memplus.evaluation.engine.summary import wilson
from memplus.evaluation.tasks.held_out import HeldOut, statement_items
from memplus.evaluation.tasks.told import TOLD, Asked, Item
from memplus.mplus.asking import Answer

__all__ = ["main", "measured"]

_SEED = 0


def main() -> None:
    """Measure and print."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, device=given.device, dtype=given.dtype).eval()
    at = (0,)  # when they are asked is this benchmark's own
    told = HeldOut(statement_items(at, ())).deal(given.statements, _SEED).items
    found = []
    for size in given.in_memory:
        found.append(measured(model, told, size))
        print("  ".join(f"{n} {v}" for n, v in found[-1].items()), file=sys.stderr)
    result = {
        "model": given.model,
        "dtype": str(model.backbone.dtype).removeprefix("torch."),
        "statements": len(told),
        "sizes": found,
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--statements", type=int, default=48, help="how many are told in all")
    parser.add_argument("--in-memory", type=int, nargs="+", default=[1, 6, 12, 24])
    parser.add_argument("--device", default=os.environ.get("MEMPLUS_DEVICE") or "cpu")
    parser.add_argument("--dtype", help="of the model: what suits the device")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def measured(model: MPlus, statements: Sequence[Item], size: int) -> dict[str, Any]:
    """Figures of memories that hold so many statements each, the last one what is left.

    Args:
        model: with a tokenizer.
        statements: told in this order.
        size: from 1 on.
    """
    parts = [statements[start : start + size] for start in range(0, len(statements), size)]
    right = asked = declined = kept_back = never = 0
    for part, other in zip(parts, [*parts[1:], parts[0]], strict=True):
        memory = model.new_memory()
        for number, one in enumerate(part):
            model.write(memory, one.text, source=f"statement {number}", flush=True)
        questions = [question for one in part for question in one.questions]
        for (_, answers), answer in _asked(model, memory, questions):
            asked += 1
            right += is_right(TOLD, answer, answers)
            declined += _declines(model, answer)
        if other is not part:
            for _, answer in _asked(model, memory, [one.questions[0] for one in other]):
                never += 1
                kept_back += _declines(model, answer)
    low, high = wilson(right, asked)
    return {
        "in_memory": size,
        "questions": asked,
        "right": right,
        "interval": [round(100 * low), round(100 * high)],
        "declined": declined,
        "never_told": never,
        "never_told_declined": kept_back,
    }


def _asked(
    model: MPlus, memory: Memory, questions: Sequence[Asked]
) -> Iterator[tuple[Asked, Answer]]:
    return zip(questions, model.ask(memory, [one for one, _ in questions]), strict=True)


def _declines(model: MPlus, answer: Answer) -> bool:
    return answer.text.strip() == model.prompt.abstention


if __name__ == "__main__":
    main()
