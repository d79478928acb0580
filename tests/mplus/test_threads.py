"""Many threads, one stock model: every result is the one that a thread alone gets, bit for bit."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.backbone.test_session import assert_same, snapshot
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, make_tokenizer, some_ids
from torch import Tensor
from transformers import GenerationConfig

from memplus import Memory, MPlus
from memplus.config import MemoryConfig
from memplus.store import MemoryStore

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


@pytest.mark.long
@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapters"])
def test_two_models_with_memory_on_one_stock_model(adapted: bool) -> None:
    first = make_mplus("llama", ADAPTED if adapted else CONFIG)
    second = MPlus(first.model, first.memory_config, first.weights, tokenizer=make_tokenizer())
    before = snapshot(first.model)
    models = (first, second)
    equal_to_serial([everything(models[seed % 2], seed) for seed in range(THREADS)])
    assert_same(before, snapshot(first.model))


@pytest.mark.long
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


@pytest.mark.long
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


def texts_of(thread: int) -> list[str]:
    """Texts of one thread: each fills some chunks and a part of one."""
    return [f"Box {number} of thread {thread} is at {number * 7}. " * 3 for number in range(4)]


def written_texts(memory: Memory) -> dict[str, str]:
    """What each source has said, in the order of its writes, the tail last."""
    found: dict[str, str] = {}
    for _, one in sorted(memory.texts().items()):
        found[one.source] = found.get(one.source, "") + one.text
    found[memory.tail_source] = found.get(memory.tail_source, "") + memory.tail_text
    return found


@pytest.mark.long
@pytest.mark.parametrize("flush", [False, True])
def test_several_writers_of_one_memory_lose_nothing(tmp_path: Path, flush: bool) -> None:
    model = make_mplus()
    with MemoryStore(tmp_path / "store").create("one", model) as memory:

        def write(thread: int) -> Callable[[], None]:
            def work() -> None:
                for text in texts_of(thread):
                    model.write(memory, text, source=str(thread), flush=flush)

            return work

        together([write(thread) for thread in range(THREADS)])
        expected = {str(thread): "".join(texts_of(thread)) for thread in range(THREADS)}
        assert written_texts(memory) == expected
        tokens = sum(len(text) for text in expected.values())
        assert memory.tokens + len(memory.tail) == tokens
        assert sum(memory.source_tokens.values()) == memory.tokens


def test_whole_texts_of_several_writers_follow_each_other() -> None:
    """Under one name too: no text is cut by another's."""
    model = make_mplus()
    memory = model.new_memory()
    together(
        [
            lambda thread=thread: [model.write(memory, [thread] * 23) for _ in range(3)]
            for thread in range(THREADS)
        ]
    )
    assert memory.tokens + len(memory.tail) == THREADS * 3 * 23
    assert len(memory.tail) == THREADS * 3 * 23 % CONFIG.chunk_tokens


def test_batches_of_shared_memories_in_any_order() -> None:
    model = make_mplus()
    memories = [model.new_memory(seed=seed) for seed in range(4)]

    def write(first: int) -> Callable[[], None]:
        def work() -> None:
            order = memories[first:] + memories[:first]
            for _ in range(3):
                model.write(order, [some_ids(13, seed=first).tolist()] * 4, source="all")
                with torch.no_grad():
                    model(some_ids(4, 3), memory=order[::-1])

        return work

    together([write(index % 4) for index in range(THREADS)])
    for memory in memories:
        assert memory.tokens + len(memory.tail) == THREADS * 3 * 13


def states(model: MPlus, look: Callable[[Memory], Any]) -> tuple[list[int], list[Any]]:
    """A text, and what ``look`` gives after each of its chunks and at its end."""
    memory = model.new_memory()
    ids = some_ids(12 * CONFIG.chunk_tokens + 4).tolist()
    seen = [look(memory)]
    model.write(memory, ids, progress=lambda done, total: seen.append(look(memory)))
    return ids, [*seen, look(memory)]


LOOKS: dict[str, Callable[[MPlus, Memory], Any]] = {
    "forward": lambda model, memory: [model(some_ids(5), memory=memory).logits.detach()],
    "generate": lambda model, memory: [
        model.generate(some_ids(5), memory=memory, max_new_tokens=3)
    ],
    "ask": lambda model, memory: [str(model.ask(memory, "who?", max_new_tokens=2))],
    "fork": lambda model, memory: [
        model(some_ids(5), memory=memory.fork()).logits.detach(),
    ],
    "counts": lambda model, memory: [(fork := memory.fork()).tokens, len(fork.tail), fork.clock],
}


@pytest.mark.long
@pytest.mark.parametrize("how", LOOKS)
@pytest.mark.parametrize("kept", [False, True], ids=["in RAM", "in a store"])
def test_who_looks_while_a_memory_is_written_sees_a_whole_state(
    tmp_path: Path, how: str, kept: bool
) -> None:
    model = make_mplus()
    ids, expected = states(model, lambda memory: LOOKS[how](model, memory))
    memory = (
        MemoryStore(tmp_path / "store", durability="relaxed").create("one", model)
        if kept
        else model.new_memory()
    )
    done = threading.Event()

    def write() -> None:
        try:
            model.write(memory, ids)
        finally:
            done.set()

    def look() -> list[Any]:
        found: list[Any] = []
        while not done.is_set():
            found.append(LOOKS[how](model, memory))
        return [*found, LOOKS[how](model, memory)]

    _, *seen = together([write, *[look] * 3])
    for found in seen:
        places = []
        for one in found:
            which = [place for place, state in enumerate(expected) if same(one, state)]
            assert which, "a state that never was"
            places.append(which)
        # Never back in time, and at the end all of it.
        least = 0
        for which in places:
            least = min((place for place in which if place >= least), default=-1)
            assert least >= 0
        assert len(expected) - 1 in places[-1]


def test_what_is_saved_while_a_memory_is_written_is_a_whole_state(tmp_path: Path) -> None:
    model = make_mplus()
    look = LOOKS["forward"]
    ids, expected = states(model, lambda memory: look(model, memory))
    memory, done = model.new_memory(), threading.Event()

    def write() -> None:
        model.write(memory, ids)
        done.set()

    def save() -> int:
        count = 0
        while not done.is_set():
            memory.fork().save(tmp_path / f"{count}.memory")
            count += 1
        return count

    _, count = together([write, save])
    for index in range(count):
        found = look(model, Memory.load(tmp_path / f"{index}.memory", model))
        assert any(same(found, state) for state in expected)


def test_a_memory_of_an_equal_model_is_whole_too() -> None:
    """Two stock models have two locks; one memory of the first is read by both."""
    first, second = make_mplus(), make_mplus()
    ids, expected = states(first, lambda memory: LOOKS["forward"](first, memory))
    memory, done = first.new_memory(), threading.Event()

    def write() -> None:
        first.write(memory, ids)
        done.set()

    def look(model: MPlus) -> list[Any]:
        found = []
        while not done.is_set():
            found.append(LOOKS["forward"](model, memory))
        return found

    _, *seen = together([write, *[lambda m=m: look(m) for m in (first, second) * 2]])
    assert all(any(same(one, state) for state in expected) for found in seen for one in found)


def test_a_model_is_copied_between_the_passes_of_other_threads() -> None:
    model = make_mplus()
    expected = model.model(some_ids(1, 5)).logits
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())

    def read() -> None:
        for _ in range(30):
            model(some_ids(5), memory=memory)

    def copies() -> list[Tensor]:
        return [copy.deepcopy(model).model(some_ids(1, 5)).logits for _ in range(10)]

    _, _, found = together([read, read, copies])
    for logits in found:
        assert torch.equal(logits, expected)
