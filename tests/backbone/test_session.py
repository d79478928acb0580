"""The model is the same after any use, after errors too; threads and models do not mix."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, make_tokenizer, some_ids
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from memplus import MPlus
from memplus.config import MemoryConfig

ADAPTED = MemoryConfig(**{**CONFIG.__dict__, "adapters": ADAPTERS})
FAMILIES = ["llama", "llama-dynamic", "phi3-longrope-long", "gemma3", "smollm3"]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | type(None) | Tensor)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a use of it could leave changed."""
    config: Any = model.config
    seen: dict[str, Any] = {
        "config": config.to_dict(),
        "attention": config._attn_implementation,
        "generation": model.generation_config.to_dict(),  # type: ignore[operator,union-attr]
    }
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        seen[f"tensor {name}"] = (tensor.detach().clone(), tensor.requires_grad)
    for name, module in model.named_modules():
        for hooks in _HOOKS:
            seen[f"{hooks} {name}"] = len(getattr(module, hooks))
        seen[f"names {name}"] = sorted(module.__dict__)
        seen[f"training {name}"] = module.training
        for key, value in module.__dict__.items():
            if _plain(value):
                seen[f"value {name}.{key}"] = value.clone() if isinstance(value, Tensor) else value
        if isinstance(module, LoraLayer):
            seen[f"adapters {name}"] = list(module.active_adapters)
    return seen


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        if isinstance(value, tuple):
            assert torch.equal(value[0], after[name][0]), name
            assert value[1] == after[name][1], name
        elif isinstance(value, Tensor):
            assert torch.equal(value, after[name]), name
        else:
            assert value == after[name], name


def warmed(name: str) -> MPlus:
    """A model that has run once: some families make tensors at their first forward."""
    model = make_mplus(name, ADAPTED if name == "llama" else CONFIG)
    with torch.no_grad():
        model.model(some_ids(1, 50), use_cache=False)
        model.model(some_ids(1, 5), use_cache=False)
    return model


def use(model: MPlus) -> None:
    """Writes, reads with and without gradients, generation: long and short ones."""
    memory = model.new_memory()
    model.write(memory, some_ids(65).tolist())
    with torch.no_grad():
        model(some_ids(2, 5), memory=memory)
    rows = model.compress(memory, some_ids(10))
    model(some_ids(5), memory=memory, new_rows=rows).logits.sum().backward()
    model.zero_grad(set_to_none=True)
    model.generate(some_ids(5), memory=memory, max_new_tokens=3, num_beams=2)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_model_is_identical_after_use(name: str) -> None:
    model = warmed(name)
    before = snapshot(model.model)
    use(model)
    assert_same(before, snapshot(model.model))


@pytest.mark.parametrize("place", ["first layer", "last layer", "attention", "head"])
@pytest.mark.parametrize("action", ["write", "read", "generate"])
def test_the_model_is_identical_after_an_error_in_the_middle(place: str, action: str) -> None:
    model = warmed("llama")
    memory = model.new_memory()
    model.write(memory, some_ids(24).tolist())
    layers = model.backbone.layers
    broken: dict[str, nn.Module] = {
        "first layer": layers[0].module,
        "last layer": layers[-1].module,
        "attention": layers[1].attention,
        "head": model.model.lm_head,  # type: ignore[dict-item]
    }
    before = snapshot(model.model)

    def fail(module: nn.Module, args: Any) -> None:
        raise RuntimeError("broken on purpose")

    handle: RemovableHandle = broken[place].register_forward_pre_hook(fail)
    rows = (memory.short_term_rows, list(memory.tail), len(memory.writes))
    if not (action == "write" and place == "head"):  # a write never comes to the head
        with pytest.raises(RuntimeError, match="on purpose"):
            {
                "write": lambda: model.write(memory, some_ids(17).tolist()),
                "read": lambda: model(some_ids(5), memory=memory),
                "generate": lambda: model.generate(some_ids(5), memory=memory, max_new_tokens=2),
            }[action]()
        assert (memory.short_term_rows, memory.tail, len(memory.writes)) == rows
    handle.remove()

    assert_same(before, snapshot(model.model))


def test_the_callers_adapter_and_trainable_flags_survive() -> None:
    model = make_mplus("llama", ADAPTED)
    layer = model.backbone.layers[0].attention.q_proj
    layer.set_adapter("default")  # the library's own switch clears flags of the other adapter
    before = snapshot(model.model)
    model.write(model.new_memory(), some_ids(25).tolist())
    assert layer.active_adapters == ["default"]
    assert_same(before, snapshot(model.model))


def test_reading_and_writing_use_their_own_adapters() -> None:
    model = make_mplus("llama", ADAPTED)
    memory = model.new_memory()
    model.write(memory, some_ids(40).tolist())
    rows, logits = model.compress(memory, some_ids(8)), model(some_ids(5), memory=memory).logits
    for name, read, write in (("default", True, False), ("decoder_adapter", False, True)):
        touched = make_mplus("llama", ADAPTED)
        for path, weight in touched.model.named_parameters():
            # Writing keeps what reading needs, so k and v are left alone here.
            if f"lora_B.{name}" in path and ("q_proj" in path or "up_proj" in path):
                weight.data.mul_(2)
        other = touched.new_memory()
        other.pool, other.long_term = memory.pool, memory.long_term
        assert torch.equal(touched(some_ids(5), memory=other).logits, logits) == read
        assert torch.equal(touched.compress(other, some_ids(8)), rows) == write


def test_two_threads_on_one_model_do_not_mix() -> None:
    model = make_mplus("llama", ADAPTED)
    texts = [some_ids(70, seed=seed).tolist() for seed in range(4)]

    def work(index: int, results: dict[int, Tensor]) -> None:
        memory = model.new_memory(seed=index)
        for start in range(0, 70, 14):
            model.write(memory, texts[index][start : start + 14])
            with torch.no_grad():
                results[index] = model(some_ids(6, seed=index), memory=memory).logits

    alone: dict[int, Tensor] = {}
    together: dict[int, Tensor] = {}
    for index in range(4):
        work(index, alone)
    before = snapshot(model.model)
    threads = [threading.Thread(target=work, args=(i, together)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(together) == [0, 1, 2, 3]
    for index in range(4):
        assert torch.equal(alone[index], together[index])
    assert_same(before, snapshot(model.model))


def test_forks_of_one_memory_may_be_written_by_different_threads() -> None:
    """Forks share rows, so their writes meet in the store's storage."""
    model = make_mplus()
    origin = model.new_memory()
    model.write(origin, some_ids(80).tolist())
    texts = [some_ids(60, seed=seed).tolist() for seed in range(4)]
    expected = [origin.fork() for _ in texts]
    for memory, text in zip(expected, texts, strict=True):
        model.write(memory, text)
    forks = [origin.fork() for _ in texts]
    threads = [
        threading.Thread(target=model.write, args=(memory, text))
        for memory, text in zip(forks, texts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for left, right in zip(expected, forks, strict=True):
        assert left.long_term is not None
        assert right.long_term is not None
        for one, other in zip(left.long_term.tables, right.long_term.tables, strict=True):
            for name, column in one.columns().items():
                assert torch.equal(column, other[name]), name


def test_two_models_at_once() -> None:
    first, second = make_mplus("llama", seed=1), make_mplus("gemma3", seed=2)
    ours, theirs = first.new_memory(), second.new_memory()
    for start in range(0, 40, 10):
        first.write(ours, some_ids(40)[start : start + 10].tolist())
        second.write(theirs, some_ids(40)[start : start + 10].tolist())
    with torch.no_grad():
        left = first(some_ids(6), memory=ours).logits
        right = second(some_ids(6), memory=theirs).logits
    for model, expected, name in ((first, left, "llama"), (second, right, "gemma3")):
        alone = make_mplus(name, seed=1 if name == "llama" else 2)
        memory = alone.new_memory()
        alone.write(memory, some_ids(40).tolist())
        with torch.no_grad():
            assert torch.equal(alone(some_ids(6), memory=memory).logits, expected)
        assert type(alone.model) is type(model.model)


@pytest.mark.parametrize("name", ["llama-dynamic", "phi3-longrope-long", "phi3-longrope-short"])
def test_a_read_does_not_depend_on_earlier_reads(name: str) -> None:
    """Under frequencies that follow the length, a long read must not change a short one."""
    model = make_mplus(name)
    memory, other = model.new_memory(), model.new_memory(seed=1)
    model.write(memory, some_ids(40).tolist())
    model.write(other, some_ids(80, seed=1).tolist())
    with torch.no_grad():
        before = model(some_ids(3), memory=memory).logits
        cached = model(some_ids(4), memory=memory, use_cache=True)
        going_on = model(some_ids(1), memory=memory, past_key_values=cached.past_key_values).logits
        model(some_ids(40), memory=other)
        assert torch.equal(model(some_ids(3), memory=memory).logits, before)
        model(some_ids(40), memory=memory)
        assert torch.equal(model(some_ids(3), memory=memory).logits, before)
        cached = model(some_ids(4), memory=memory, use_cache=True)
        model(some_ids(50), memory=memory)
        again = model(some_ids(1), memory=memory, past_key_values=cached.past_key_values).logits
    assert torch.equal(again, going_on)


@pytest.mark.long
@pytest.mark.parametrize("what", ["model", "decoder", "layers", "wrapped"])
def test_a_compiled_model_gives_what_it_gives_uncompiled(what: str) -> None:
    """Passes run it as it is written; the caller's own calls stay compiled."""
    plain = make_mplus("llama")
    stock: Any = make_model("llama")
    calls: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(len(inputs))
        return graph.forward

    wrapped = torch.compile(stock, backend=backend) if what == "wrapped" else stock
    parts = {"model": [stock], "decoder": [stock.model], "layers": stock.model.layers}
    for part in parts.get(what, []):
        part.compile(backend=backend)
    model = MPlus.from_backbone(wrapped, CONFIG, tokenizer=make_tokenizer())
    model.weights.load_state_dict(plain.weights.state_dict())
    before = snapshot(stock)
    results = []
    for one in (plain, model):
        memory = one.new_memory()
        one.write(memory, some_ids(45).tolist())
        with torch.no_grad():
            logits = one(some_ids(5), memory=memory).logits
        results.append((logits, one.generate(some_ids(5), memory=memory, max_new_tokens=3)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert calls == []
    assert_same(before, snapshot(stock))
    with torch.no_grad():
        wrapped(some_ids(1, 5), use_cache=False)
    assert calls
    torch.compiler.reset()
