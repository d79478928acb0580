"""What many questions of one memory cost together, beside the same questions one by one.

    python benchmarks/questions.py --shape smollm2-135m --threads 1

``ask`` gets the questions as a list, and each by itself; evidence and confidence are part of both.
Questions are made-up words, 8 to 24 tokens long. On the CPU process time is counted, on a GPU
(``--device cuda``) the time until its queue is empty. Single ones
are asked before and after the list, half of them each, so that both see the same machine; with
``--single`` only so many of them, and the time of all is reckoned from theirs. The last line of the
output is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from shapes import DTYPES, SHAPES, Shape, add_device, build, is_there, now, on_gpu
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memplus import Memory, MPlus
from memplus.config import PromptConfig
from memplus.passes.pristine import Pristine

__all__ = ["main"]

LENGTHS = range(8, 25)
"""Tokens of a question."""


def a_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A word for every id of a vocabulary."""
    words = {f"w{number}": number for number in range(size)}
    raw = Tokenizer(models.WordLevel(vocab=words, unk_token="w0"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="w0")


def some_questions(count: int, size: int) -> list[str]:
    """Of random words and lengths; the same ones each time."""
    drawn = random.Random(1)
    return [
        " ".join(f"w{drawn.randrange(size)}" for _ in range(drawn.choice(LENGTHS)))
        for _ in range(count)
    ]


def opened(shape: Shape, tokens: int) -> tuple[MPlus, Memory]:
    """A model that answers in so many tokens, and a full memory of it."""
    prompt = PromptConfig(template="{question}", stop=(), max_new_tokens=tokens, min_confidence=0.0)
    made = build(shape)
    tokenizer = a_tokenizer(shape.model.vocab_size)
    core = made.core
    model = MPlus(
        made.model,
        core.memory_config,
        made.weights,
        tokenizer=tokenizer,
        prompt=prompt,
        pristine=core.pristine,
    )
    memory = model.new_memory()
    model.pristine = Pristine()
    model.model.generation_config.eos_token_id = None  # every answer has its full length
    return model, memory


def seconds(model: MPlus, memory: Memory, questions: Sequence[Sequence[str]]) -> float:
    """How long it takes to ask lists of questions, one list after another."""
    device = str(model.device)
    start = now(device)
    for some in questions:
        model.ask(memory, list(some))
    return now(device) - start


def main(arguments: list[str] | None = None) -> int:
    """Measure one shape and print it; 1 where it needs a GPU and there is none."""
    parser = argparse.ArgumentParser(description="Many questions of one memory, and single ones.")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="smollm2-135m")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="fp32")
    add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--questions", type=int, default=32, help="how many")
    parser.add_argument("--single", type=int, help="how many are asked by themselves: all")
    parser.add_argument("--answer-tokens", type=int, default=32, help="tokens of an answer")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    shape = replace(SHAPES[given.shape], dtype=DTYPES[given.dtype])
    shape = replace(shape, device=given.device or shape.device)
    if not is_there(shape.device):
        print(f"{given.shape} needs a CUDA GPU, and this machine has none.", file=sys.stderr)
        return 1
    model, memory = opened(shape, given.answer_tokens)
    questions = some_questions(given.questions, shape.model.vocab_size)
    seconds(model, memory, [questions[:2]])  # keys are turned, buffers are there
    alone = [[one] for one in questions[: given.single]]
    half = len(alone) // 2
    single = seconds(model, memory, alone[:half])
    together = seconds(model, memory, [questions])
    single += seconds(model, memory, alone[half:])
    single *= len(questions) / len(alone)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{given.questions} questions, {given.answer_tokens} tokens each, {given.dtype}: "
        f"{single:.1f} s one by one, {together:.1f} s together, "
        f"{together / single:.2f} of it; at most {peak / 1e6:,.0f} MB resident"
    )
    figures = {
        **vars(given),
        "device": shape.device,
        "single_seconds": single,
        "together_seconds": together,
        "ratio": together / single,
        "peak_bytes": peak,
    }
    if on_gpu(shape.device):
        figures["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
