"""A pass is there for the thread that runs it; every other thread sees the stock model."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.backbone.test_session import assert_same, snapshot
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, make_tokenizer, some_ids
from torch import Tensor, nn

from memplus import MPlus
from memplus.backbone.access import Backbone
from memplus.backbone.current import ByThread, lock_of, session_here
from memplus.config import MemoryConfig

ADAPTED = MemoryConfig(**{**CONFIG.__dict__, "adapters": ADAPTERS})
CASES = {
    "llama": lambda: make_mplus("llama"),
    "llama-eager": lambda: make_mplus("llama", attention="eager"),
    "llama-adapters": lambda: make_mplus("llama", ADAPTED),
    "llama-dynamic": lambda: make_mplus("llama-dynamic"),
    "phi3-longrope-long": lambda: make_mplus("phi3-longrope-long"),
    "gemma2": lambda: make_mplus("gemma2", attention="eager"),
    "gemma3": lambda: make_mplus("gemma3"),
    "gpt_neox": lambda: make_mplus("gpt_neox"),
}
IDS = some_ids(2, 9, seed=3)


def in_thread(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, run in a thread of its own; its error is raised here."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_the_middle(module: nn.Module, work: Callable[[], Any]) -> tuple[Any, Any]:
    """A hook for ``module`` that lets another thread do ``work`` at its first call here."""
    here, done = threading.get_ident(), []

    def hook(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == here and not done:
            done.append(None)
            done[0] = in_thread(work)

    return module.register_forward_pre_hook(hook), done


def used(model: MPlus) -> list[Tensor]:
    """What a write, a read and a generation of a new memory give."""
    memory = model.new_memory()
    model.write(memory, some_ids(45).tolist())
    with torch.no_grad():
        logits = model(some_ids(5), memory=memory).logits
    assert memory.pool is not None
    return [
        *(memory.pool.columns[name] for name in ("k", "v")),
        logits,
        model.generate(some_ids(5), memory=memory, max_new_tokens=3),
    ]


def stock(model: MPlus) -> list[Tensor]:
    """What the stock model gives, with and without a graph."""
    own: Any = model.model
    with torch.no_grad():
        logits = own(IDS).logits
        generated = own.generate(IDS, max_new_tokens=4, do_sample=False)
    return [logits, generated, own(IDS, use_cache=False).logits.detach()]


def assert_all_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def places(model: MPlus) -> list[nn.Module]:
    """Modules in whose middle another thread comes in: decoder, layers, attention, projections."""
    layers = model.backbone.layers
    inner = next(m for m in layers[2].attention.modules() if isinstance(m, nn.Linear))
    return [model.backbone.decoder, layers[0].module, layers[1].attention, inner]


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_stock_call_in_the_middle_of_a_pass_is_the_stock_models(name: str) -> None:
    model = CASES[name]()
    expected, ours = stock(model), used(model)
    before = snapshot(model.model)
    for place in places(model):
        handle, done = in_the_middle(place, lambda: stock(model))
        found = used(model)
        handle.remove()
        assert_all_equal(done[0], expected)
        assert_all_equal(found, ours)
    assert_same(before, snapshot(model.model))


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_pass_in_the_middle_of_a_stock_call_disturbs_neither(name: str) -> None:
    model = CASES[name]()
    expected, ours = stock(model), used(model)
    for place in places(model):
        handle, done = in_the_middle(place, lambda: used(model))
        found = stock(model)
        handle.remove()
        assert_all_equal(done[0], ours)
        assert_all_equal(found, expected)


def test_a_stock_call_that_begins_within_a_pass_may_end_after_it() -> None:
    """The stock call has its mask from within the pass and its attention from after it."""
    model = make_mplus("llama")
    expected = stock(model)
    inside, go_on = threading.Event(), threading.Event()
    results: list[list[Tensor]] = []

    def foreign() -> None:
        results.append(stock(model))

    thread = threading.Thread(target=foreign)

    def wait(module: nn.Module, args: Any) -> None:
        if threading.current_thread() is thread and not go_on.is_set():
            inside.set()
            assert go_on.wait(60)

    def begin(module: nn.Module, args: Any) -> None:
        if threading.current_thread() is not thread and not thread.ident:
            thread.start()
            assert inside.wait(60)

    handles = [
        model.backbone.layers[0].module.register_forward_pre_hook(wait),
        model.backbone.decoder.register_forward_pre_hook(begin),
    ]
    model.write(model.new_memory(), some_ids(10).tolist())
    go_on.set()
    thread.join()
    for handle in handles:
        handle.remove()
    assert_all_equal(results[0], expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_training_the_stock_model_beside_a_pass(reentrant: bool) -> None:
    """Gradient checkpointing of the other thread is its own."""
    model = make_mplus("llama")
    own: Any = model.model
    own.train()
    own.activation_checkpointing_enable({"use_reentrant": reentrant})
    embedded = own.get_input_embeddings()(IDS).detach().requires_grad_()

    def step() -> list[Tensor]:
        embedded.grad = None
        own(inputs_embeds=embedded, use_cache=False).logits.square().mean().backward()
        assert embedded.grad is not None
        return [embedded.grad.clone()]

    expected = step()
    for place in places(model):
        handle, done = in_the_middle(place, step)
        model.compress(None, some_ids(10)).sum().backward()
        handle.remove()
        assert_all_equal(done[0], expected)


def test_output_attentions_of_the_stock_model_beside_a_pass() -> None:
    model = make_mplus("llama", attention="eager")
    own: Any = model.model

    def weights() -> list[Tensor]:
        with torch.no_grad():
            return list(own(IDS, output_attentions=True).attentions)

    expected = weights()
    assert len(expected) == len(model.backbone.layers)
    for place in places(model):
        handle, done = in_the_middle(place, weights)
        used(model)
        handle.remove()
        assert_all_equal(done[0], expected)


def test_a_pass_inside_a_pass_of_the_same_thread() -> None:
    """A streamer, or a hook of the caller, may ask again while an answer is being made."""
    model = make_mplus("llama")
    expected = used(model)
    inner: list[list[Tensor]] = []

    def again(module: nn.Module, args: Any) -> None:
        if not inner:
            inner.append([])
            inner[0] = used(model)

    handle = model.backbone.layers[2].module.register_forward_pre_hook(again)
    found = used(model)
    handle.remove()
    assert_all_equal(found, expected)
    assert_all_equal(inner[0], expected)


def test_a_model_wrapped_in_the_middle_of_a_pass_is_wrapped_as_it_is() -> None:
    model = make_mplus("llama")
    own: Any = model.model
    started, results = threading.Event(), []

    def wrap() -> None:
        started.set()
        results.append(Backbone(own))

    thread = threading.Thread(target=wrap)

    def begin(module: nn.Module, args: Any) -> None:
        if not thread.ident:
            thread.start()
            assert started.wait(60)
            thread.join(0.05)  # it waits for the pass to end

    handle = model.backbone.layers[1].module.register_forward_pre_hook(begin)
    model.write(model.new_memory(), some_ids(10).tolist())
    handle.remove()
    thread.join()
    assert results[0].attention_implementation == "sdpa"
    assert results[0].stock_attention == "sdpa"


def test_one_lock_for_one_stock_model() -> None:
    own = make_model()
    tokenizer = make_tokenizer()
    first, second = (MPlus.from_backbone(own, CONFIG, tokenizer=tokenizer) for _ in range(2))
    other = MPlus.from_backbone(make_model(), CONFIG, tokenizer=tokenizer)
    assert first.backbone.lock is second.backbone.lock
    assert first.backbone.lock is not other.backbone.lock


def test_the_lock_is_no_part_of_the_stock_model() -> None:
    own = make_model()
    model = MPlus.from_backbone(own, CONFIG, tokenizer=make_tokenizer())
    used(model)
    for twin in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert lock_of(twin.get_decoder()) is not model.backbone.lock
        with torch.no_grad():
            assert torch.equal(twin(IDS).logits, own(IDS).logits)


def test_nobody_runs_a_session_after_a_pass() -> None:
    model = make_mplus()
    used(model)
    assert session_here(model.model.config) is None
    with pytest.raises(RuntimeError, match="on purpose"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.backbone.layers[0].attention), "forward", _fail)
        used(model)
    assert session_here(model.model.config) is None


def _fail(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("on purpose")


def test_names_by_thread() -> None:
    names = ByThread(["ours"], ["theirs", "too"])
    assert list(names) == ["ours"]
    assert "theirs" not in names
    assert in_thread(lambda: list(names)) == ["theirs", "too"]
    assert in_thread(lambda: (len(names), names[0], names[:1])) == (2, "theirs", ["theirs"])
