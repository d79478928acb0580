"""What the server's engine and the server itself carry.

``python benchmarks/serve.py engine --model smollm2 --askers 8``: as many askers of as many
memories, one after another and together. Every memory is written a few hundred tokens of its own;
answers are greedy and of exactly so many tokens, so that both ways do the same work. One after
another is timed twice, by ``MPlus.generate`` and by the engine with one place, and the ratio is to
the quicker one.

``python benchmarks/serve.py load --model nano``: a real server process under a mixture of
questions, chats and writes over HTTP, first by a few clients that wait for their answers, then at
ten times that rate whatever it answers. Counts what was acknowledged and is not there afterwards,
what was refused and how, and looks at the sizes of the queue and the process.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

import torch
from serve_load import add_arguments, measure_load
from shapes import add_device

from memplus import Memory, MPlus
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.server.engine.engine import Engine
from memplus.server.engine.requests import EngineLimits, Finished, ReadRequest, Sampling

Result = TypeVar("Result")

_QUESTIONS = (
    "What does the text say about names?",
    "Explain in a few sentences what was written here.",
    "Which statements are described, and what do they do?",
    "Tell me everything that you remember about expressions, in order.",
)


@dataclass
class Timing:
    """One way of answering all questions."""

    seconds: float
    answers: list[list[int]]
    """Token ids."""
    cpu_seconds: float = 0.0
    """Of the processor, all threads: what other programs on the machine change least."""

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(len(one) for one in self.answers)


def written_memories(model: MPlus, count: int, tokens: int) -> list[Memory]:
    """Memories of different texts of so many tokens each."""
    ids = model.encode(language_documentation()[: 12 * count * tokens])
    memories = [model.new_memory(seed) for seed in range(count)]
    for place, memory in enumerate(memories):
        own = list(islice(cycle(ids), place * tokens, (place + 1) * tokens))
        model.write(memory, own, source=f"text {place}", flush=True)
    return memories


def by_generate(
    model: MPlus, memories: Sequence[Memory], prompts: list[list[int]], new: int
) -> Timing:
    """One question after another, by the stock way of generating."""
    started, answers = time.perf_counter(), []
    for memory, ids in zip(memories, prompts, strict=True):
        output = model.generate(
            torch.tensor([ids], device=model.device), memory, max_new_tokens=new, eos_token_id=None
        )
        answers.append(output[0, len(ids) :].tolist())
    return Timing(time.perf_counter() - started, answers)


async def _answer(engine: Engine, memory: Memory, ids: list[int], new: int) -> list[int]:
    sampling = Sampling(new, logprobs=0, ignore_end=True)
    tokens: list[int] = []
    async for item in engine.read(ReadRequest(memory, tuple(ids), sampling)):
        if not isinstance(item, Finished):
            tokens += [score.id for score in item.tokens]
    return tokens


async def by_engine(
    model: MPlus, memories: Sequence[Memory], prompts: list[list[int]], new: int, places: int
) -> Timing:
    """All questions at once, by an engine of so many places."""
    engine = Engine(model, EngineLimits(running=places, waiting_seconds=3600.0))
    engine.start()
    started = time.perf_counter()
    asked = zip(memories, prompts, strict=True)
    answers = await asyncio.gather(*(_answer(engine, memory, ids, new) for memory, ids in asked))
    seconds = time.perf_counter() - started
    await engine.close(10)
    return Timing(seconds, list(answers))


def aside(work: Callable[[], Result]) -> Result:
    """Do something in a thread that ends.

    It takes along the threads that its products ran on: ``memplus.server.threads`` says why.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def measure_engine(arguments: argparse.Namespace) -> dict[str, object]:
    """Time all ways, and compare what they answer."""
    options = {"dtype": arguments.dtype, "device": arguments.device}
    model = aside(lambda: MPlus.from_pretrained(arguments.model, **options))
    memories = aside(lambda: written_memories(model, arguments.askers, arguments.written))
    questions = islice(cycle(_QUESTIONS), arguments.askers)
    prompts = [model.asker.encode(question) for question in questions]
    given = model, memories, prompts, arguments.new
    ways = {
        "generate": lambda: aside(lambda: by_generate(*given)),
        "one place": lambda: asyncio.run(by_engine(*given, places=1)),
        "together": lambda: asyncio.run(by_engine(*given, places=arguments.askers)),
    }
    best: dict[str, Timing] = {}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            started = time.process_time()
            found = way()
            found.cpu_seconds = time.process_time() - started
            known = best.get(name, found)
            best[name] = Timing(
                min(found.seconds, known.seconds),
                found.answers,
                min(found.cpu_seconds, known.cpu_seconds),
            )
    rates = {name: one.tokens / one.seconds for name, one in best.items()}
    cpu_rates = {name: one.tokens / one.cpu_seconds for name, one in best.items()}
    for name in ways:
        print(f"{name:<10} {rates[name]:8.1f} tokens/s {cpu_rates[name]:8.1f} tokens/CPU s")
    ratio, cpu_ratio = (
        found["together"] / max(found["generate"], found["one place"])
        for found in (rates, cpu_rates)
    )
    equal = all(one.answers == best["generate"].answers for one in best.values())
    print(f"ratio      {ratio:8.2f} {cpu_ratio:19.2f}   answers equal: {equal}")
    return {
        "rates": rates,
        "ratio": ratio,
        "cpu_rates": cpu_rates,
        "cpu_ratio": cpu_ratio,
        "equal": equal,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    engine = parts.add_parser("engine", help="askers together against one after another")
    engine.add_argument("--model", default="nano")
    engine.add_argument("--dtype", default="float32")
    add_device(engine)
    engine.add_argument("--askers", type=int, default=8)
    engine.add_argument("--written", type=int, default=400, help="tokens written to each memory")
    engine.add_argument("--new", type=int, default=48, help="tokens of each answer")
    engine.add_argument("--rounds", type=int, default=2, help="the best of so many is taken")
    engine.add_argument("--threads", type=int, default=1)
    add_arguments(parts.add_parser("load", help="a served model under ten times its load"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    measure = measure_engine if arguments.part == "engine" else measure_load
    result = measure(arguments)
    kept = {name: value for name, value in vars(arguments).items() if name != "part"}
    print(json.dumps({"part": arguments.part, **kept, **result}))


if __name__ == "__main__":
    main()
