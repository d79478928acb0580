"""Both rules of retrieval on the same weights: single rows in every layer, or spans for all layers.

    python benchmarks/rows_and_spans.py --model smollm2 --data DATA

M+ retrieves rows, layer by layer (2502.00592, section 3.3); the bundled pretrained models retrieve
spans (docs/architecture.md, "Spans instead of rows"). Here a bundled model's own weights, its
adapters included, are given a retriever for rows in every layer, two linear maps with a SiLU
between them as in the paper, and nothing else is changed. It learns from questions of the training
split whose passages were told in one stream: the rows of what states the answer are to stand above
all others. What asks are the inputs of the layers while the question is read, first as it is read
with spans, then, in a second round, as it is read with the rows that are found by then.

Then the held-out stream of ``memplus bench retention --small`` is told to both, which drop as many
rows into their stores, single ones or whole spans, and retrieve as many, and both are asked. For
each distance it is printed how many answers are right, and, of the stored rows of the value and of
those of all that states it, which share is retrieved, on average over the layers. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from intervals import shown_share
from torch import Tensor, nn

from memplus import MPlus
from memplus.bench import make_inputs
from memplus.config import RowRetrieval
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.retention import parse_distances
from memplus.evaluation.tasks.retention_task import RetentionTask
from memplus.memory.retriever import retrieval_scores
from memplus.passes.projection import retrieval_keys, retrieval_queries
from memplus.systems.mplus import MPlusSystem
from memplus.systems.shared import Shared
from memplus.training.tasks.losses import recall, retrieval_loss

__all__ = ["main"]

_AT_ONCE = 16
"""Questions of a step."""
_ROWS = 2048
"""Rows of a step, those of the questions among them."""


@dataclass(frozen=True)
class Stream:
    """A text in chunks, and questions about it with the places of what answers them."""

    chunks: list[list[int]]
    questions: list[str]
    rights: list[range]
    """Of each question, the tokens that state its answer."""


def main() -> None:
    """Train, ask, print."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    spans = MPlus.from_pretrained(given.model, dtype=given.dtype).eval()
    rows = _with_rows(spans, given)
    inputs = make_inputs(Shared(lambda: spans), given.data, given.texts)
    stream = _stream(Shared(lambda: spans), inputs, given)
    _say(f"{len(stream.chunks)} chunks are told, {len(stream.questions)} questions learned from")
    for number, reader in enumerate((spans, rows)[: given.rounds]):
        told, asked = _read(reader, stream)
        learned = _learn(rows, told, list(zip(asked, stream.rights, strict=True)), given)
        _say(f"round {number}: {learned}")
    lengths = parse_distances(given.distances, "distances")
    task = replace(RetentionTask.small(), lengths=lengths, items=given.asked, kinds=given.kinds)
    plans = task.plans(inputs)
    found = {name: _asked(model, task, plans) for name, model in (("rows", rows), ("spans", spans))}
    print("| rule | tokens since | right | rows of the value | of what states it | by chance |")
    print("|---|---|---|---|---|---|")
    for name, distances in found.items():
        for tokens, one in distances.items():
            cells = [f"{tokens:,}", shown_share(one["right"], one["asked"])]
            cells += [_shown(one[part]) for part in ("value", "statement", "by_chance")]
            print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps({"model": given.model, "dtype": given.dtype, **found}))


def _with_rows(spans: MPlus, given: argparse.Namespace) -> MPlus:
    """The same weights with a retriever of rows in every layer."""
    config = replace(spans.memory_config, retrieval=RowRetrieval(), retriever_layers=2)
    base = given.base or given.model
    made = MPlus.from_backbone(base, config, prompt=spans.prompt, dtype=given.dtype).eval()
    ours, theirs = dict(made.model.named_parameters()), dict(spans.model.named_parameters())
    assert ours.keys() == theirs.keys()
    with torch.no_grad():
        for name, weight in ours.items():
            weight.copy_(theirs[name])
        made.weights.memory_embedding.copy_(spans.weights.memory_embedding)
        if made.weights.bos_embedding is not None and spans.weights.bos_embedding is not None:
            made.weights.bos_embedding.copy_(spans.weights.bos_embedding)
    made.core.pristine = spans.core.pristine
    return made


def _stream(shared: Shared, inputs: Inputs, given: argparse.Namespace) -> Stream:
    """What is learned from: one stream of the training split, cut into chunks."""
    task = RetentionTask(split="train", lengths=(0,), items=given.items, seeds=1, kinds=given.kinds)
    (plan,) = task.plans(inputs)
    tokens: list[int] = []
    questions: dict[str, range] = {}
    for step in plan.steps:
        tokens += shared.encode(step.pieces)
        for one in step.questions:
            if one.told is not None:
                questions[one.text] = range(one.told.start, one.told.end)
    size = shared.mplus.memory_config.chunk_tokens
    chunks = [tokens[at : at + size] for at in range(0, len(tokens) - size + 1, size)]
    written = len(chunks) * size
    whole = {text: at for text, at in questions.items() if at.stop <= written}
    return Stream(chunks, [*whole], [*whole.values()])


@torch.no_grad()
def _read(model: MPlus, stream: Stream) -> tuple[Tensor, list[list[Tensor]]]:
    """Tell the stream and ask everything.

    Returns:
        The rows [L, R, d], one for every token, and of each question the inputs [T, d] of every
        layer while it is read.
    """
    memory = model.new_memory(seed=0)
    made = []
    for number, chunk in enumerate(stream.chunks, start=1):
        ids = torch.tensor(chunk)
        made.append(model.compress(memory, ids))
        model.write_chunk(memory, ids)
        if not number % 50:
            _say(f"told {number} of {len(stream.chunks)} chunks")
    inputs = []
    with _watched(model) as seen:
        for number, question in enumerate(stream.questions, start=1):
            ids = torch.tensor([model.asker.encode(question)])
            model.asker.reader.prefill(ids, memory)
            inputs.append([seen[layer] for layer in range(len(made[0]))])
            if not number % 100:
                _say(f"asked {number} of {len(stream.questions)}")
    return torch.cat(made, dim=1), inputs


@contextlib.contextmanager
def _watched(model: MPlus) -> Iterator[dict[int, Tensor]]:
    """The last input [T, d] of each layer, as reads go on."""
    seen: dict[int, Tensor] = {}

    def watch(layer: int) -> Any:
        def look(module: nn.Module, args: Any, kwargs: Any) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            seen[layer] = hidden[0].clone()

        return look

    hooks = [
        one.module.register_forward_pre_hook(watch(one.index), with_kwargs=True)
        for one in model.backbone.layers
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _learn(
    model: MPlus,
    rows: Tensor,
    asked: Sequence[tuple[list[Tensor], range]],
    given: argparse.Namespace,
) -> str:
    """Train the retrievers of rows.

    Args:
        model: whose retrievers learn; nothing else of it does.
        rows: [L, R, d] of all that was told.
        asked: of each question the inputs [T, d] of every layer, and the rows that answer it.
        given: the command line.

    Returns:
        How well they find them, in words.
    """
    retriever = model.weights.retriever
    assert retriever is not None
    weights = [one.requires_grad_() for one in retriever.float().parameters()]
    optimizer = torch.optim.Adam(weights, lr=given.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, given.steps)
    random = Random(given.seed)
    recalls: list[float] = []
    started = time.monotonic()
    for step in range(given.steps):
        chosen = random.sample(asked, min(_AT_ONCE, len(asked)))
        places = _places([right for _, right in chosen], rows.shape[1], random)
        told = torch.tensor([[place in right for place in places] for _, right in chosen])
        losses, found = [], []
        for layer in model.backbone.layers:
            keys = retrieval_keys(model.weights, layer, rows[layer.index, places].float())
            asking = [
                retrieval_queries(model.weights, layer, inputs[layer.index].float())
                for inputs, _ in chosen
            ]
            scores = torch.stack([retrieval_scores(one, keys) for one in asking])
            losses.append(retrieval_loss(scores, told, given.temperature))
            found.append(float(recall(scores.detach(), told, model.memory_config.retrieved_tokens)))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
        schedule.step()
        recalls.append(fmean(found))
        if not (step + 1) % 25:
            seconds = time.monotonic() - started
            _say(
                f"step {step + 1}: recall among {len(places)} rows {fmean(recalls[-25:]):.3f}, "
                f"{seconds:.0f} s"
            )
    retriever.requires_grad_(requires_grad=False)
    retriever.to(model.backbone.dtype)
    return f"recall among {_ROWS} rows {fmean(recalls[-25:]):.3f}"


def _places(rights: Sequence[range], rows: int, random: Random) -> list[int]:
    """Rows of a step: those that answer its questions, and others."""
    right = {place for one in rights for place in one}
    others = random.sample(range(rows), min(rows, _ROWS))
    return sorted(right | set(others[: max(0, _ROWS - len(right))]))


def _asked(model: MPlus, task: RetentionTask, plans: Sequence[Plan]) -> dict[int, dict[str, Any]]:
    """Distance -> what comes of asking a model."""
    kept = InMemory()
    system = MPlusSystem(Shared(lambda: model))
    run_plans([system], plans, task.judge, {system.name: kept}, lambda *_: None)
    lines = [one for one in kept.lines if one.get("answers")]
    return {
        distance: _summed([one for one in lines if one["wanted"] == distance])
        for distance in task.lengths
    }


def _summed(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    stored = [one for one in lines if "rows" in one and any(one["rows"]["statement"]["stored"])]
    return {
        "asked": len(lines),
        "right": sum(bool(one["right"]) for one in lines),
        "of_the_store": len(stored),
        "value": _retrieved(stored, "value"),
        "statement": _retrieved(stored, "statement"),
        "by_chance": fmean(one["by_chance"] for one in stored) if stored else None,
    }


def _retrieved(lines: Sequence[dict[str, Any]], part: str) -> float | None:
    """Share of stored rows that are retrieved, on average over layers; None: none are stored."""
    if not lines:
        return None
    stored, found = (
        [sum(at) for at in zip(*(one["rows"][part][name] for one in lines), strict=True)]
        for name in ("stored", "retrieved")
    )
    shares = [got / all_ for got, all_ in zip(found, stored, strict=True) if all_]
    return fmean(shares) if shares else None


def _shown(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2", help="a bundled model that retrieves spans")
    parser.add_argument("--base", help="its base model, where that has another name")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--texts", type=Path, nargs="+", help="prose; else as for bench")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--kinds", nargs="+", default=RetentionTask.kinds, help="of questions")
    parser.add_argument("--items", type=int, default=96, help="of the training stream, a kind")
    parser.add_argument("--steps", type=int, default=300, help="of each round")
    parser.add_argument("--rounds", type=int, default=2, choices=(1, 2))
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--temperature", type=float, default=0.1, help="scores are divided by it")
    parser.add_argument("--distances", default="0,4k", help="tokens since it was told")
    parser.add_argument("--asked", type=int, default=8, help="held-out items, of a kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
