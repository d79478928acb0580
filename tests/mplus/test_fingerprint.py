"""Whatever way weights change, their identity does; and nothing else changes it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, make_tokenizer, some_ids
from torch import Tensor, nn
from torch.nn.utils import prune

from memplus import Memory, MPlus
from memplus.backbone.access import Backbone
from memplus.config import MemoryConfig
from memplus.errors import MemoryMismatchError, UnsupportedModelError, UsageError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.fingerprint import (
    WeightsIdentity,
    digest,
    stored_digest,
    tokenizer_digest,
    words_digest,
)
from memplus.store import MemoryStore

ADAPTED = MemoryConfig(**{**CONFIG.__dict__, "adapters": ADAPTERS})


def slow_digest(config: MemoryConfig, tensors: dict[str, Tensor]) -> str:
    """The digest by its definition, word by word; files hold its values, so it may not change."""
    found = hashlib.sha256(json.dumps(config.identifying(), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        data = tensor.detach().contiguous().view(-1).view(torch.uint8)
        words = data.view(torch.int32) if data.numel() % 4 == 0 else data
        numbers = words.tolist()
        plain = sum(numbers)
        placed = sum(number * (place % 65521 + 1) for place, number in enumerate(numbers))
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)} {(plain, placed)}".encode())
    return found.hexdigest()[:32]


def with_users_adapters() -> Any:
    """A stock model with two adapters that are the caller's own; the first is active."""
    model = make_model()
    for name in ("default", "two"):
        lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            inject_adapter_in_model(lora, model, adapter_name=name)
    tuners(model, lambda layer: layer.set_adapter("default"))
    return model


def tuners(model: nn.Module, change: Callable[[Any], Any]) -> None:
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            change(module)


def identity_of(model: Any, config: MemoryConfig = CONFIG) -> tuple[WeightsIdentity, MemoryWeights]:
    torch.manual_seed(0)
    backbone = Backbone(model, adapted=config.adapters is not None)
    weights = MemoryWeights(len(backbone.layers), backbone.hidden_size, config)
    return WeightsIdentity(backbone, weights, config), weights


def step(model: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(some_ids(1, 5)).logits.sum().backward()
    optimizer.step()
    model.zero_grad()


def scaled(model: Any) -> None:
    for weight in model.parameters():
        weight.data.mul_(1.3)


def replaced(model: Any) -> None:
    layer = model.get_decoder().layers[2].mlp.up_proj
    layer.weight = nn.Parameter(layer.weight.detach() * 1.1)


def assigned(model: Any) -> None:
    state = {name: tensor * 1.1 for name, tensor in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def loaded(model: Any) -> None:
    model.load_state_dict({name: tensor * 1.1 for name, tensor in model.state_dict().items()})


def swapped(model: Any) -> None:
    weight = model.get_decoder().layers[1].mlp.down_proj.weight
    weight.data = weight.data * 1.1


def pruned(model: Any) -> None:
    prune.l1_unstructured(model.get_decoder().layers[1].mlp.up_proj, "weight", 0.5)


WAYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "in place through data": (scaled, "weights"),
    "another parameter": (replaced, "weights"),
    "other data": (swapped, "weights"),
    "load_state_dict": (loaded, "weights"),
    "load_state_dict with assign": (assigned, "weights"),
    "resized embedding": (lambda model: model.resize_token_embeddings(300), "shapes of weights"),
    "bfloat16": (lambda model: model.to(torch.bfloat16), "dtype"),
    "optimizer step": (step, "weights"),
    "pruned by a mask": (pruned, "shapes of weights"),
}
ADAPTER_WAYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "merged": (lambda layer: layer.merge(), "merged adapters"),
    "other adapter": (lambda layer: layer.set_adapter("two"), "active adapter"),
    "both adapters": (lambda layer: layer.set_adapter(["default", "two"]), "active adapter"),
    "disabled": (lambda layer: layer.enable_adapters(enabled=False), "disabled adapters"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_changing_weights_is_seen(way: str) -> None:
    change, differs = WAYS[way]
    model = make_model()
    identity, _ = identity_of(model)
    tag, fingerprint, parts = identity.tag, identity.fingerprint(), identity.parts()
    change(model)
    assert identity.tag != tag
    assert identity.changed_since(tag) == differs
    assert identity.fingerprint() != fingerprint
    assert identity.parts()["weights"] != parts["weights"]
    assert identity.parts()["memory weights"] == parts["memory weights"]


@pytest.mark.parametrize("way", ADAPTER_WAYS)
def test_every_way_of_changing_adapters_is_seen(way: str) -> None:
    change, differs = ADAPTER_WAYS[way]
    model = with_users_adapters()
    identity, _ = identity_of(model)
    tag, fingerprint, parts = identity.tag, identity.fingerprint(), identity.parts()
    tuners(model, change)
    assert identity.tag != tag
    assert differs in identity.changed_since(tag)
    assert identity.fingerprint() != fingerprint
    assert identity.parts()["adapters"] != parts["adapters"]


def test_adapters_and_a_memory_leave_the_base_what_it_is() -> None:
    plain, adapted = make_model(), with_users_adapters()
    identity, weights = identity_of(adapted)
    found = identity_of(plain)[0].base_fingerprint()
    assert identity.base_fingerprint() == found
    weights.memory_embedding.data.add_(1)
    tuners(adapted, lambda layer: layer.set_adapter("two"))
    assert identity.base_fingerprint() == found
    scaled(adapted)
    identity.examine()
    assert identity.base_fingerprint() != found


def test_weights_that_memory_adds_are_weights() -> None:
    identity, weights = identity_of(make_model())
    tag, parts = identity.tag, identity.parts()
    weights.memory_embedding.data.add_(1)
    assert identity.tag != tag
    assert identity.parts()["memory weights"] != parts["memory weights"]
    assert identity.parts()["weights"] == parts["weights"]


def test_an_adapter_that_passes_choose_themselves_may_be_active_or_not() -> None:
    model = make_mplus("llama", ADAPTED)
    identity = WeightsIdentity(model.backbone, model.weights, ADAPTED)
    tag, fingerprint = identity.tag, identity.fingerprint()
    tuners(model.model, lambda layer: layer.set_adapter("decoder_adapter"))
    assert (identity.tag, identity.fingerprint()) == (tag, fingerprint)
    tuners(model.model, lambda layer: layer.enable_adapters(enabled=False))
    assert identity.changed_since(tag) == "disabled adapters"
    assert identity.fingerprint() != fingerprint


@pytest.mark.parametrize("place", [0, 1, 777, -1])
def test_a_single_number_is_found_by_a_full_look(place: int) -> None:
    model = make_model()
    identity, _ = identity_of(model)
    tag, fingerprint = identity.tag, identity.fingerprint()
    weight = model.get_decoder().layers[1].mlp.up_proj.weight
    weight.data.view(-1)[place] += 1e-3
    identity.examine()
    assert identity.tag != tag
    assert identity.fingerprint() != fingerprint
    assert identity.changed_since(tag) == "weights"


def test_use_changes_nothing() -> None:
    model = make_mplus("llama", ADAPTED)
    identity = WeightsIdentity(model.backbone, model.weights, ADAPTED)
    tag, fingerprint = identity.tag, identity.fingerprint()
    memory = model.new_memory()
    model.write(memory, some_ids(45).tolist())
    model.generate(some_ids(5), memory=memory, max_new_tokens=3)
    own: Any = model.model
    own.train()
    own(some_ids(1, 5)).logits.sum().backward()
    own.eval()
    identity.examine()
    assert (identity.tag, identity.fingerprint()) == (tag, fingerprint)
    assert (
        identity.fingerprint()
        == WeightsIdentity(model.backbone, model.weights, ADAPTED).fingerprint()
    )


def test_a_pass_does_not_show_in_the_tag() -> None:
    """Another thread that asks in the middle of a pass gets the same answer."""
    model = make_mplus("llama", ADAPTED)
    identity = WeightsIdentity(model.backbone, model.weights, ADAPTED)
    tag, seen = identity.tag, []
    handle = model.backbone.layers[1].module.register_forward_pre_hook(
        lambda module, args: seen.append(identity.tag)
    )
    model.write(model.new_memory(), some_ids(10).tolist())
    handle.remove()
    assert set(seen) == {tag}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8])
@pytest.mark.parametrize("size", [0, 1, 3, 65520, 65521, 65522, 140_001])
def test_the_digest_is_what_it_was_defined_to_be(dtype: torch.dtype, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(size, generator=generator) * 100
    tensors = {"b": values.to(dtype), "a": values[: size // 2].to(dtype)}
    assert digest(CONFIG, tensors) == slow_digest(CONFIG, tensors)


def test_the_identity_of_an_unmodified_model_is_the_digest_of_its_tensors() -> None:
    """So that memories saved by earlier releases open."""
    for model, config in (
        (make_mplus("llama", ADAPTED), ADAPTED),
        (make_mplus("gemma3"), CONFIG),
        (MPlus.from_backbone(with_users_adapters(), CONFIG, tokenizer=make_tokenizer()), CONFIG),
    ):
        identity = WeightsIdentity(
            Backbone(model.model, adapted=config.adapters is not None), model.weights, config
        )
        state = model.model.state_dict()
        assert identity.fingerprint() == slow_digest(config, state | model.weights.state_dict())
        lora = {name: tensor for name, tensor in state.items() if "lora_" in name}
        rest = {name: tensor for name, tensor in state.items() if name not in lora}
        assert identity.parts() == {
            "weights": slow_digest(config, rest),
            "adapters": slow_digest(config, lora),
            "memory weights": slow_digest(config, model.weights.state_dict()),
        }


def test_the_digest_of_what_is_stored_can_be_computed_by_others() -> None:
    rows = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    tensors = {"b.weight": rows.bfloat16(), "a.weight": rows.t(), "c": torch.tensor(7)}
    content = b"a.weight float32 [3, 2]\n" + rows.t().contiguous().numpy().tobytes()
    content += b"b.weight bfloat16 [2, 3]\n"
    content += rows.bfloat16().view(torch.int16).numpy().tobytes()
    content += b"c int64 []\n" + (7).to_bytes(8, "little")
    assert stored_digest(tensors) == hashlib.sha256(content).hexdigest()
    assert stored_digest(dict(reversed(tensors.items()))) == stored_digest(tensors)
    for name, other in [("c", torch.tensor(8)), ("a.weight", rows), ("d", torch.zeros(0))]:
        assert stored_digest(tensors | {name: other}) != stored_digest(tensors)


def test_the_digest_of_a_tokenizers_words_sees_their_ids_and_no_rules() -> None:
    tokenizer = make_tokenizer()
    found = words_digest(tokenizer)
    words = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    assert found == hashlib.sha256(words.encode()).hexdigest()
    tokenizer.padding_side = "left"
    tokenizer.chat_template = "{{ messages }}"
    assert words_digest(tokenizer) == found
    tokenizer.add_tokens(["ferry"])
    assert words_digest(tokenizer) != found
    assert words_digest(None) is None


def test_a_model_quantised_under_our_hands_is_another() -> None:
    found = []
    for seed in (0, 1, 0):
        model = make_model(seed=seed)
        identity, _ = identity_of(model)
        tag, fingerprint = identity.tag, identity.fingerprint()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize: Any = torch.ao.quantization.quantize_dynamic
            quantize(model, {nn.Linear}, inplace=True)
        assert identity.tag != tag
        found.append(identity.fingerprint())
        assert found[-1] != fingerprint
    assert found[0] == found[2] != found[1]


def test_weights_without_content_are_refused_by_name() -> None:
    model = make_model()
    identity, _ = identity_of(model)
    tag = identity.tag
    model.get_decoder().layers[1].mlp.to("meta")
    assert identity.tag != tag
    assert identity.changed_since(tag) == "device"
    with pytest.raises(UnsupportedModelError, match=r"layers\.1\.mlp.* offloaded"):
        identity.fingerprint()


def test_a_tokenizers_digest_sees_its_words() -> None:
    tokenizer = make_tokenizer()
    found = tokenizer_digest(tokenizer)
    assert found == tokenizer_digest(make_tokenizer())
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_digest(tokenizer) != found
    assert tokenizer_digest(None) not in (found, tokenizer_digest(tokenizer))


# Through the facade: a memory made before a change is refused after it.


def adapted_users_mplus() -> MPlus:
    torch.manual_seed(0)
    return MPlus.from_backbone(with_users_adapters(), CONFIG, tokenizer=make_tokenizer()).eval()


EVERY_WAY: dict[str, tuple[Callable[[], MPlus], Callable[[MPlus], Any], str]] = {
    **{
        way: (make_mplus, lambda model, change=change: change(model.model), differs)
        for way, (change, differs) in WAYS.items()
    },
    **{
        way: (
            adapted_users_mplus,
            lambda model, change=change: tuners(model.model, change),
            differs,
        )
        for way, (change, differs) in ADAPTER_WAYS.items()
    },
    "the whole model in bfloat16": (make_mplus, lambda model: model.to(torch.bfloat16), "dtype"),
}


@pytest.mark.long
@pytest.mark.parametrize("way", EVERY_WAY)
def test_a_memory_made_before_a_change_is_refused_after_it(tmp_path: Path, way: str) -> None:
    make, change, differs = EVERY_WAY[way]
    model = make()
    memory, store = model.new_memory(), MemoryStore(tmp_path / "store")
    model.write(memory, some_ids(45).tolist())
    memory.save(tmp_path / "a.memory")
    with store.create("a", model) as stored:
        model.write(stored, some_ids(45).tolist())
    kept = store.open("a", model)
    again = make()
    change(model)

    assert memory.stale
    for one in (memory, memory.fork(), kept):
        for use in (
            lambda m: model.write(m, some_ids(5).tolist()),
            lambda m: model(some_ids(5), memory=m),
            lambda m: model.generate(some_ids(5), memory=m, max_new_tokens=1),
            lambda m: model.ask(m, "who?", max_new_tokens=1),
            lambda m: model.compress(m, some_ids(5)),
        ):
            if one is kept and "write" in use.__code__.co_names:
                continue  # it was opened for reading
            with pytest.raises(MemoryMismatchError) as raised:
                use(one)
            assert differs in str(raised.value)
    with pytest.raises(MemoryMismatchError):
        memory.save(tmp_path / "b.memory")
    with pytest.raises(MemoryMismatchError):
        Memory.load(tmp_path / "a.memory", model)
    with pytest.raises(MemoryMismatchError):
        store.open("a", model)
    kept.close()

    with torch.no_grad():
        expected = again(some_ids(5), memory=Memory.load(tmp_path / "a.memory", again)).logits
        with store.open("a", again) as stored:
            assert torch.equal(again(some_ids(5), memory=stored).logits, expected)
    if way == "bfloat16":  # of the stock model alone: nothing can be made of it
        with pytest.raises(UsageError, match="bfloat16"):
            model.write(model.new_memory(), some_ids(45).tolist())
        return
    fresh = model.new_memory()
    model.write(fresh, some_ids(45).tolist())
    fresh.save(tmp_path / "c.memory")
    Memory.load(tmp_path / "c.memory", model)
    with pytest.raises(MemoryMismatchError):
        Memory.load(tmp_path / "c.memory", again)


@pytest.mark.parametrize("where", ["save", "load", "open"])
def test_a_single_number_is_found_at_save_and_open_at_the_latest(
    tmp_path: Path, where: str
) -> None:
    model = make_mplus()
    memory, store = model.new_memory(), MemoryStore(tmp_path / "store")
    model.write(memory, some_ids(45).tolist())
    memory.save(tmp_path / "a.memory")
    store.create("a", model).close()
    weight: Any = model.backbone.layers[2].module.mlp.up_proj.weight  # type: ignore[union-attr]
    weight.data.view(-1)[701] += 1e-3
    with pytest.raises(MemoryMismatchError):
        {
            "save": lambda: memory.save(tmp_path / "b.memory"),
            "load": lambda: Memory.load(tmp_path / "a.memory", model),
            "open": lambda: store.open("a", model),
        }[where]()
    assert memory.stale
    assert not (tmp_path / "b.memory").exists()


def test_an_empty_memory_takes_the_weights_that_first_write_it() -> None:
    model = make_mplus()
    memory = model.new_memory()
    scaled(model.model)
    model.write(memory, some_ids(25).tolist())
    assert not memory.stale
    scaled(model.model)
    assert memory.stale


def test_the_bundled_model_has_the_identity_that_files_hold() -> None:
    """Memories of earlier releases open."""
    model = MPlus.from_pretrained("nano")
    state = model.model.state_dict() | model.weights.state_dict()
    assert model.fingerprint == slow_digest(model.memory_config, state)
