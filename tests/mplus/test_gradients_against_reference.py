"""Gradients of a read's loss through ``compress``, against the slow reference's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.reference import Reference, Shape, empty_state, random_checkpoint
from tests.reference.shapes import LINEAR
from torch import Tensor
from torch.nn.functional import cross_entropy

from memplus import MPlus
from memplus.passes.read import HiddenPrefix

SHAPES = {
    "two adapters": Shape(),
    "one adapter": Shape(decoder_lora=False),
    "no bos": Shape(bos=False),
    "linear rope": Shape(rope_scaling=LINEAR),
    "memoryllm": Shape(ltm_blocks=0),
}
LEARNED = {
    "bos_embedding": "bos_embedding",
    "new_memory_positional_emb": "memory_embedding",
}


def trainable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint that training moves: adapters, bos, memory embedding."""
    return {name: t for name, t in tensors.items() if "lora_" in name or name in LEARNED}


def pair(folder: Path, shape: Shape) -> tuple[MPlus, Reference]:
    raw, tensors = random_checkpoint(folder, shape, seed=4)
    for tensor in trainable(tensors).values():
        tensor.requires_grad_()
    return MPlus.from_pretrained(folder), Reference(raw, tensors)


def tokens(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 64, (count,), generator=generator)


def gradient_in_library(model: MPlus, name: str) -> Tensor | None:
    """By the name that the published layout gives the weight."""
    if name in LEARNED:
        weight = getattr(model.weights, LEARNED[name])
    else:
        weight = model.model.get_parameter(name)
    assert isinstance(weight, Tensor)
    return weight.grad


def loss_of(logits: Tensor, ids: Tensor) -> Tensor:
    return cross_entropy(logits[:-1], ids[1:])


def compare(model: MPlus, reference: Reference, *, without: tuple[str, ...] = ()) -> set[str]:
    """Compare every gradient but those with one of ``without`` in the name; return who has one."""
    moved = set()
    for name, tensor in trainable(dict(reference.tensors)).items():
        if any(part in name for part in without):
            continue
        found = gradient_in_library(model, name)
        assert (found is None) == (tensor.grad is None), name
        if found is None or tensor.grad is None:
            continue
        assert torch.allclose(found, tensor.grad, rtol=1e-3, atol=1e-5), name
        if tensor.grad.abs().max() > 1e-4:
            moved.add(name)
    return moved


def expect_moved(moved: set[str], shape: Shape, adapters: set[str]) -> None:
    """The comparison met every kind of weight, with a gradient that is not nothing."""
    assert "new_memory_positional_emb" in moved
    assert ("bos_embedding" in moved) == shape.bos
    assert {name.split(".")[-2] for name in moved if "lora_" in name} == adapters


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("length", [4, 11], ids=["T < K", "T > K"])
def test_fresh_rows_alone(tmp_path: Path, shape: Shape, checkpointing: bool, length: int) -> None:
    """A chunk written after a memory, and read with nothing else, under the write adapter."""
    model, reference = pair(tmp_path, shape)
    if checkpointing:
        model.model.activation_checkpointing_enable()
        model.model.train()
    chunk, prompt = tokens(length, 1), tokens(6, 2)
    rows = model.compress(model.new_memory(), chunk)
    loss_of(model(prompt, new_rows=rows, use_cache=False).logits[0], prompt).backward()
    delta = reference.write_delta(reference.initial_state(), chunk)
    loss_of(reference.read_on_delta(delta, prompt), prompt).backward()
    expect_moved(compare(model, reference), shape, {"default"})


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_two_writes_and_a_read_under_the_read_adapter(
    tmp_path: Path, shape: Shape, checkpointing: bool
) -> None:
    """The second chunk is written on the rows of the first; the read sees both."""
    model, reference = pair(tmp_path, shape)
    if checkpointing:
        model.model.activation_checkpointing_enable()
        model.model.train()
    chunks, prompt = (tokens(9, 1), tokens(4, 2)), tokens(6, 3)
    nothing = torch.empty(1, shape.layers, 0, shape.hidden)
    first = model.core.write_rows(chunks[0][None], nothing)
    second = model.core.write_rows(chunks[1][None], first)
    prefix = HiddenPrefix(model.backbone, model.weights, torch.cat([first, second], dim=2))
    hidden = model.core.read_rows(prompt[None], prefix)[0]
    loss_of(model.core.logits(hidden), prompt).backward()

    empty = [torch.empty(0, shape.hidden)] * shape.layers
    one = reference.write_pass(empty, chunks[0]).delta
    two = reference.write_pass(one, chunks[1]).delta
    state = empty_state(reference.config)
    logits = reference.read(state, prompt, extra=torch.cat([one, two], dim=1)).logits
    loss_of(logits, prompt).backward()
    adapters = {"default", "decoder_adapter"} if shape.decoder_lora else {"default"}
    expect_moved(compare(model, reference), shape, adapters)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_new_rows_behind_a_memory(tmp_path: Path, shape: Shape) -> None:
    """Rows of a memory are kept as keys and values: nothing flows into what made those."""
    model, reference = pair(tmp_path, shape)
    memory, chunk, prompt = model.new_memory(), tokens(11, 1), tokens(6, 2)
    rows = model.compress(memory, chunk)
    loss_of(model(prompt, memory=memory, new_rows=rows).logits[0], prompt).backward()
    state = reference.initial_state()
    delta = reference.write_delta(state, chunk)
    loss_of(reference.read(state, prompt, extra=delta).logits, prompt).backward()
    reader = reference.config.read_adapter
    stored = tuple(f"{kind}_proj.lora_{part}.{reader}" for kind in "kv" for part in "AB")
    adapters = {"default", "decoder_adapter"} if shape.decoder_lora else {"default"}
    expect_moved(compare(model, reference, without=stored), shape, adapters)
