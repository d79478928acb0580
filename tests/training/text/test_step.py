"""One step of each task, its loss and every gradient, against loops over rows.

The slow formulation below knows of a task what the papers say: what is written, what is dropped,
what is read. It shares with the library the numbers that the generators draw, and nothing else.

Shapes: L layers, T tokens, K rows per write, n rows, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.reference import Reference, Shape, random_checkpoint
from tests.reference.model import Read
from torch import Tensor
from torch.nn.functional import cross_entropy

from memplus.mplus.model import MPlus
from memplus.training.engine.optimizers import choose_trainable
from memplus.training.tasks.protocol import Job, Plan, Sizes
from memplus.training.text.run_config import TrainingConfig, parse_config
from memplus.training.text.step import TextStep
from memplus.training.text.workload import lane_memory

K, BLOCKS, RETRIEVED, CHUNK = 6, 3, 2, 9
N, M = BLOCKS * K, RETRIEVED * K
SHAPE = Shape(rows=K, blocks=BLOCKS, ltm_blocks=RETRIEVED)
SHAPES = {"two adapters": SHAPE, "one adapter": Shape(rows=K, blocks=BLOCKS, decoder_lora=False),
          "no bos": Shape(rows=K, blocks=BLOCKS, bos=False)}  # fmt: skip
PENALTY, NEGATIVE, LANGUAGE, WEIGHT = 0.05, 0.7, 0.3, 0.6


def config_of(folder: Path, model: MPlus, **task: Any) -> TrainingConfig:
    memory = model.memory_config
    given = {
        "model": {"start": str(folder), "trainable": "adapters"},
        "memory": {
            "short_term_tokens": N,
            "retrieved_tokens": M,
            "tokens_per_write": K,
            "chunk_tokens": CHUNK,
            "retriever_dim": memory.retriever_dim,
            "bos": memory.bos,
            "adapters": {"rank": 3, "alpha": 6, "reading": SHAPE.decoder_lora},
        },
        "data": {"texts": ["none"]},
        "tasks": [{"task": "completion", "name": "other"}, {"name": "this", **task}],
        "retriever": {
            "weight": WEIGHT, "negative_weight": NEGATIVE, "penalty": PENALTY,
            "random_query": False,
        },
        "run": {"out": "none", "steps": 1, "stored_rows": 60, "language": LANGUAGE},
    }  # fmt: skip
    return parse_config(yaml.safe_dump(given))


@dataclass
class Row:
    hidden: Tensor
    birth: int
    write: int
    key: Tensor | None = None


@dataclass
class SlowMemory:
    """Rows of one document, per layer."""

    short: list[list[Row]]
    long: list[list[Row]]
    clock: int = 0
    writes: int = 0
    last: list[list[Row]] = field(default_factory=list)


def slow_start(reference: Reference) -> SlowMemory:
    rows = reference.tensors["memory"]
    count = rows.shape[1]
    short = [[Row(row, 1 - count + i, 0) for i, row in enumerate(layer)] for layer in rows]
    return SlowMemory(short, [[] for _ in short], last=[layer[-K:] for layer in short])


def slow_write(
    reference: Reference, memory: SlowMemory, ids: Tensor, lots: torch.Generator, learns: bool
) -> Tensor:
    """Write a chunk; the loss of its own next tokens."""
    context = [torch.stack([row.hidden for row in rows]) for rows in memory.last]
    made = reference.write_pass(context, ids)
    delta = made.delta if learns else made.delta.detach()
    memory.clock += K
    memory.writes += 1
    draws = torch.rand((len(memory.short), len(memory.short[0])), generator=lots)
    excess = max(0, len(memory.short[0]) + K - N)
    memory.last = []
    for layer, rows in enumerate(memory.short):
        gone = set(draws[layer].topk(excess).indices.tolist())
        for row in (rows[i] for i in sorted(gone)):
            # What lies in the store has no graph, whenever it was dropped.
            hidden = row.hidden.detach()
            key = reference.retriever("key_proj", layer, hidden[None])[0].detach()
            memory.long[layer].append(Row(hidden, row.birth, row.write, key))
        ages = range(K - 1, -1, -1)
        fresh = [
            Row(vector, memory.clock - age, memory.writes)
            for vector, age in zip(delta[layer], ages, strict=True)
        ]
        memory.short[layer] = [row for i, row in enumerate(rows) if i not in gone] + fresh
        memory.last.append(fresh)
    return cross_entropy(made.logits[:-1], ids[1:])


def slow_read(
    reference: Reference,
    rows: list[list[Tensor]],
    stored: list[list[Row]],
    ids: Tensor,
    adapter: Any,
) -> tuple[Tensor, list[Tensor]]:
    """Logits [T, V] and every layer's input [T, d]."""
    hidden, inputs = reference.decoder.embed(ids), []
    sink = Read(torch.empty(0), [], [], [])
    for layer, short in enumerate(rows):
        inputs.append(hidden)
        called: list[Row] = []
        if stored[layer]:
            queries = reference.retriever("query_proj", layer, hidden)
            keys = torch.stack([row.key for row in stored[layer] if row.key is not None])
            scores = torch.sigmoid(queries @ keys.T).mean(dim=0).tolist()
            best = sorted(range(len(keys)), key=lambda i: scores[i], reverse=True)[:M]
            # Oldest first, and of one age the one that was stored last.
            best.sort(key=lambda i: (stored[layer][i].birth, -i))
            called = [stored[layer][i] for i in best]
        prefix = [row.hidden[None] for row in called] + [row[None] for row in short]
        prefix = [*reference._bos(layer), *prefix]
        hidden = reference._read_layer(layer, prefix, hidden, adapter, sink)
    return reference.decoder.logits(hidden), inputs


def slow_retriever_loss(
    reference: Reference, memory: SlowMemory, inputs: list[Tensor], first: int, last: int
) -> Tensor:
    losses = []
    for layer, hidden in enumerate(inputs):
        queries = reference.retriever("query_proj", layer, hidden.detach())
        right, wrong, spread = [], [], []
        for row in memory.short[layer] + memory.long[layer]:
            key = reference.retriever("key_proj", layer, row.hidden.detach()[None])[0]
            score = torch.sigmoid(queries @ key).mean()
            spread.append(score * (1 - score))
            if first <= row.write <= last:
                right.append(-torch.log(score + 1e-5))
            else:
                wrong.append(-torch.log(1 - score + 1e-5))
        mean = torch.stack(right).mean() + NEGATIVE * torch.stack(wrong).mean()
        losses.append(mean / (1 + NEGATIVE) + PENALTY * torch.stack(spread).mean())
    return torch.stack(losses).mean()


def slow_loss(
    reference: Reference,
    memory: SlowMemory,
    job: Job,
    lane: int,
    target: tuple[int, int] | None,
) -> Tensor:
    """The loss of one document of a job; ``target``: what a revisit depends on."""
    plan, lots = job.plan, torch.Generator().manual_seed(job.seeds[lane])
    first, language, fresh = memory.writes + 1, [], []
    for index, ids in enumerate(job.chunks[lane]):
        learns = index >= plan.sizes.chunks - plan.sizes.gradient_writes
        loss = slow_write(reference, memory, ids, lots, learns)
        fresh.append([[row.hidden for row in rows] for rows in memory.last])
        if learns:
            language.append(loss)
    layers = range(len(memory.short))
    ids = job.ids[lane]
    config = reference.config
    if plan.whole:
        rows = [[row.hidden for row in memory.short[layer]] for layer in layers]
        logits, inputs = slow_read(reference, rows, memory.long, ids, config.read_adapter)
    else:
        rows = [[row for write in fresh for row in write[layer]] for layer in layers]
        nothing: list[list[Row]] = [[] for _ in layers]
        logits, inputs = slow_read(reference, rows, nothing, ids, config.write_adapter)
    total = cross_entropy(logits[job.unscored : -1], ids[job.unscored + 1 :])
    if language:
        total = total + LANGUAGE * torch.stack(language).mean()
    depends = target or ((first, memory.writes) if plan.sizes.chunks else None)
    if plan.whole and depends:
        total = total + WEIGHT * slow_retriever_loss(reference, memory, inputs, *depends)
    return total


def job_of(config: TrainingConfig, step: int, chunks: int, whole: bool, unscored: int = 0) -> Job:
    """Random texts of two documents for the config's own task, or for ``other``: a completion."""
    task = config.tasks[1 if step else 0]
    gradient_writes = task.largest(config.memory).gradient_writes
    sizes = Sizes(chunks, CHUNK, 7, gradient_writes)
    plan = Plan(task, step, 0, sizes, whole, query_tokens=7, renewed=True)
    lots = torch.Generator().manual_seed(10 + step)
    texts = torch.randint(0, SHAPE.vocab, (2, chunks * CHUNK + 7), generator=lots)
    return Job(
        plan,
        texts[:, : chunks * CHUNK].view(2, chunks, CHUNK) if chunks else texts[:, :0],
        texts[:, -7:],
        unscored,
        (5 + step, 70 + step),
        2,
    )


CASES: dict[str, tuple[dict[str, Any], int, bool, int]] = {
    "one chunk, new rows alone": ({"task": "completion", "full_pool": 0.5}, 1, False, 0),
    "one chunk, whole memory": ({"task": "completion"}, 1, True, 0),
    "chunks without gradient": ({"task": "completion", "gradient_writes": 0}, 3, True, 0),
    "gradient through two of four": ({"task": "completion", "gradient_writes": 2}, 4, True, 0),
    "gradient through all": ({"task": "completion", "gradient_writes": 9}, 3, True, 0),
    "repetition": ({"task": "repetition", "gradient_writes": 2, "unscored": 2}, 2, True, 3),
    "language": ({"task": "language"}, 0, True, 0),
    "revisit": ({"task": "revisit"}, 0, True, 0),
}  # fmt: skip


def compare_gradients(model: MPlus, reference: Reference) -> set[str]:
    """Every trainable weight's gradient; the names of those that have one."""
    moved = set()
    for name, tensor in reference.tensors.items():
        if not tensor.requires_grad:
            continue
        found = gradient_of(model, name)
        expected = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        found = torch.zeros_like(tensor) if found is None else found
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5, msg=name)
        if expected.abs().max() > 1e-4:
            moved.add(name)
    return moved


def gradient_of(model: MPlus, name: str) -> Tensor | None:
    """By the name that the published layout gives the weight."""
    if name == "bos_embedding":
        assert model.weights.bos_embedding is not None
        return model.weights.bos_embedding.grad
    if name == "new_memory_positional_emb":
        return model.weights.memory_embedding.grad
    if "query_proj" in name or "key_proj" in name:
        layer, path = int(name.split(".")[2]), name.partition("self_attn.")[2]
        return model.weights.layer_retriever(layer).get_parameter(path).grad
    return model.model.get_parameter(name).grad


def pair(folder: Path, shape: Shape) -> tuple[MPlus, Reference]:
    raw, tensors = random_checkpoint(folder, shape, seed=4)
    learned = ("lora_", "bos_embedding", "positional_emb", "self_attn.query_proj", "key_proj")
    for name, tensor in tensors.items():
        tensor.requires_grad_(any(part in name for part in learned))
    model = MPlus.from_pretrained(folder)
    choose_trainable(model, "adapters")
    return model, Reference(raw, tensors)


COMBINED = [
    *((case, "two adapters", False) for case in CASES),
    *((case, "two adapters", True) for case in list(CASES)[:5:2]),
    *((case, shape, False) for shape in list(SHAPES)[1:] for case in ("repetition", "revisit")),
]


@pytest.mark.parametrize(("case", "form", "checkpointing"), COMBINED)
def test_loss_and_gradients_of_a_step(
    tmp_path: Path, case: str, form: str, checkpointing: bool
) -> None:
    """Two steps before it fill the store, and leave something to be revisited."""
    task, chunks, whole, unscored = CASES[case]
    shape = SHAPES[form]
    model, reference = pair(tmp_path, shape)
    if checkpointing:
        model.model.activation_checkpointing_enable()
    model.train()
    config = config_of(tmp_path, model, **task)
    step = TextStep(model, config, lane_memory(model, config, 2))
    slow = [slow_start(reference), slow_start(reference)]
    first = job_of(config, 0, 2, whole=True)
    with torch.no_grad():
        step(first)
        for lane in range(2):
            slow_loss(reference, slow[lane], first, lane, None)
    job = job_of(config, 1, chunks, whole, unscored)
    target = None
    if task["task"] == "revisit":
        assert step.kept is not None
        job, target = Job(job.plan, job.chunks, step.kept.ids, 0, job.seeds, 2), (1, 2)
    loss, figures = step(job)
    loss.backward()
    expected = torch.stack([slow_loss(reference, slow[i], job, i, target) for i in range(2)]).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert figures["loss"].equal(loss.detach())
    moved = compare_gradients(model, reference)
    adapters = {name.split(".")[-2] for name in moved if "lora_" in name}
    writes = chunks > 0 and task.get("gradient_writes", 1) > 0
    reader = "decoder_adapter" if shape.decoder_lora else "default"
    assert adapters == ({reader} if whole else set()) | ({"default"} if writes else set())
    assert ("new_memory_positional_emb" in moved) == writes
    learns = whole and task["task"] != "language"
    assert any("query_proj" in name for name in moved) == learns
    assert any("key_proj" in name for name in moved) == learns
