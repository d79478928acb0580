"""Many threads, one stock model: every result is the one that a thread alone gets, bit for bit."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from tests.backbone.test_session import assert_same, snapshot
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, make_tokenizer, some_ids
from torch import Tensor
from transformers import GenerationConfig

from memplus import Memory, MPlus
from memplus.config import MemoryConfig

ADAPTED = MemoryConfig(**{**CONFIG.__dict__, "adapters": ADAPTERS})
THREADS = 8
ROUNDS = 2


@pytest.fixture(autouse=True)
def switching_often() -> Iterator[None]:
    """Threads take turns after microseconds, so that a gap of a few instructions is found."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """What every function returns, each in its own thread, all begun at once."""
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(index: int) -> None:
        try:
            barrier.wait(60)
            results[index] = works[index]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def same(left: Any, right: Any) -> bool:
    """Whether results are equal to the last bit."""
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def equal_to_serial(works: Sequence[Callable[[], Any]]) -> None:
    expected = [work() for work in works]
    found = together(works)
    wrong = [index for index in range(len(works)) if not same(found[index], expected[index])]
    assert wrong == []


def everything(model: MPlus, seed: int) -> Callable[[], list[Tensor]]:
    """Writes, reads and generation with a memory of its own."""

    def work() -> list[Tensor]:
        results: list[Tensor] = []
        memory = model.new_memory(seed=seed)
        ids = some_ids(26 * ROUNDS, seed=seed).tolist()
        for start in range(0, len(ids), 26):
            model.write(memory, ids[start : start + 26])
            with torch.no_grad():
                results.append(model(some_ids(5, seed=seed), memory=memory).logits)
            results.append(model.generate(some_ids(4, seed=seed), memory=memory, max_new_tokens=3))
        return results

    return work


def stock_alone(model: MPlus, seed: int) -> Callable[[], list[Tensor]]:
    """What the caller does with the stock model itself."""
    own: Any = model.model
    ids = some_ids(2, 7, seed=seed)

    def work() -> list[Tensor]:
        results: list[Tensor] = []
        for _ in range(4 * ROUNDS):
            with torch.no_grad():
                results.append(own(ids).logits)
        results.append(own.generate(ids, max_new_tokens=6, do_sample=False))
        return results

    return work


@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapters"])
def test_two_models_with_memory_on_one_stock_model(adapted: bool) -> None:
    first = make_mplus("llama", ADAPTED if adapted else CONFIG)
    second = MPlus(first.model, first.memory_config, first.weights, tokenizer=make_tokenizer())
    before = snapshot(first.model)
    models = (first, second)
    equal_to_serial([everything(models[seed % 2], seed) for seed in range(THREADS)])
    assert_same(before, snapshot(first.model))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("llama", CONFIG),
        ("llama", ADAPTED),
        ("llama-dynamic", CONFIG),
        ("gemma2", CONFIG),
        ("gemma3", CONFIG),
    ],
    ids=["llama", "llama-adapters", "llama-dynamic", "gemma2", "gemma3"],
)
def test_the_stock_model_used_beside_its_memories(name: str, config: MemoryConfig) -> None:
    attention = "eager" if name == "gemma2" else "sdpa"
    model = make_mplus(name, config, attention=attention)
    stock_alone(model, 0)()
    before = snapshot(model.model)
    works = [everything(model, seed) for seed in range(THREADS // 2)]
    equal_to_serial([*works, *(stock_alone(model, seed) for seed in range(THREADS // 2))])
    assert_same(before, snapshot(model.model))


def test_generation_rules_are_those_of_one_request() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(45).tolist())
    prompt = some_ids(6)
    longest = model.generate(prompt, memory=memory, max_new_tokens=12)[0, 6:].tolist()
    stop = GenerationConfig(max_new_tokens=9, eos_token_id=longest[2], pad_token_id=1)
    rules: list[dict[str, Any]] = [
        {"max_new_tokens": 12},
        {"generation_config": stop},
        {"max_new_tokens": 5, "do_sample": False, "suppress_tokens": [longest[0]]},
        {"max_new_tokens": 7, "repetition_penalty": 3.0},
    ]

    def asks(options: dict[str, Any]) -> Callable[[], list[Tensor]]:
        return lambda: [model.generate(prompt, memory=memory, **options) for _ in range(4 * ROUNDS)]

    own: Any = model.model
    before = own.generation_config.to_dict()
    equal_to_serial([asks(rules[index % len(rules)]) for index in range(THREADS)])
    assert own.generation_config.to_dict() == before


def test_a_request_writes_nothing_into_the_stock_models_rules() -> None:
    """Another thread that reads them while a request runs sees the model's own."""
    model = MPlus.from_backbone(make_model(), CONFIG, tokenizer=make_tokenizer())
    own: Any = model.model
    memory: Memory = model.new_memory()
    rules = own.generation_config
    seen: list[bool] = []
    handle = own.get_decoder().register_forward_pre_hook(
        lambda module, args: seen.append(own.generation_config is rules)
    )
    model.generate(some_ids(4), memory=memory, max_new_tokens=3, num_beams=2)
    handle.remove()
    assert seen
    assert all(seen)
