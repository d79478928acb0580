"""Adapters over a base that lies elsewhere: the same model as the whole, or refused by name."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from tests.fakes import CONFIG, make_model, make_mplus, make_tokenizer, some_ids
from tests.mplus.bundle_folders import SIZES, answers, edit, over, write_base

from memplus import Memory, MemoryStore, MPlus
from memplus.errors import (
    BaseChangedError,
    BundleAdaptersError,
    BundleBaseError,
    BundleBaseMissingError,
    ConfigError,
    MemoryMismatchError,
    MissingWeightsDirectory,
    NestedBundleError,
    NoBaseError,
    TokenizerMissingError,
    UnknownModelError,
    UnsupportedModelError,
    UsageError,
    WeightsError,
)
from memplus.passes.pristine import Pristine


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


@pytest.fixture
def bundle(base: Path, tmp_path: Path) -> Path:
    over(base).save_pretrained(tmp_path / "bundle", base="reference")
    return tmp_path / "bundle"


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3", "gpt_neox"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bundle_gives_the_same_logits_as_the_whole_model(
    tmp_path: Path, name: str, dtype: str
) -> None:
    targets = ("qkv_proj",) if name == "phi3" else SIZES.adapters.targets  # type: ignore[union-attr]
    targets = ("query_key_value",) if name == "gpt_neox" else targets
    adapters = {"rank": 2, "alpha": 4, "targets": list(targets)}
    sizes = type(SIZES).from_dict(SIZES.to_dict() | {"adapters": adapters})
    model = over(write_base(tmp_path / "base", name), sizes, dtype=dtype)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "bundle", base="reference")
    whole, bundle = (MPlus.from_pretrained(tmp_path / kind) for kind in ("whole", "bundle"))
    assert torch.equal(answers(bundle), answers(whole))
    assert bundle.identity == whole.identity
    assert bundle.fingerprint == whole.fingerprint
    assert str(bundle.backbone.dtype) == f"torch.{dtype}"


def test_it_holds_adapters_and_memory_weights_and_nothing_of_the_base(bundle: Path) -> None:
    held = load_file(bundle / "adapters.safetensors")
    assert all("lora_" in name or name.startswith("memplus.") for name in held)
    names = {path.name for path in bundle.iterdir()}
    assert names == {"adapters.safetensors", "generation_config.json", "memplus.json"}


@pytest.mark.long
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_that_is_asked_for_is_that_of_base_and_adapters(
    tmp_path: Path, stored: str, dtype: str
) -> None:
    base = write_base(tmp_path / "base", dtype=getattr(torch, stored))
    over(base, dtype="float32").save_pretrained(tmp_path / "bundle", base="reference")
    over(base, dtype="float32").save_pretrained(tmp_path / "whole")
    loaded = MPlus.from_pretrained(tmp_path / "bundle", dtype=dtype)
    assert {str(weight.dtype) for weight in loaded.parameters()} == {f"torch.{dtype}"}
    whole = MPlus.from_pretrained(tmp_path / "whole", dtype=dtype)
    assert torch.equal(answers(loaded), answers(whole))


def test_a_bundle_is_loaded_changed_and_saved_over_itself(bundle: Path) -> None:
    model = MPlus.from_pretrained(bundle)
    with torch.no_grad():
        model.weights.memory_embedding.mul_(2)
    expected = answers(model)
    model.save_pretrained(bundle, base="reference")
    assert torch.equal(answers(MPlus.from_pretrained(bundle)), expected)


def test_a_whole_model_takes_the_place_of_a_bundle_and_back(bundle: Path, base: Path) -> None:
    expected = answers(MPlus.from_pretrained(bundle))
    MPlus.from_pretrained(bundle).save_pretrained(bundle)
    assert not (bundle / "adapters.safetensors").exists()
    assert torch.equal(answers(MPlus.from_pretrained(bundle)), expected)
    MPlus.from_pretrained(bundle).save_pretrained(bundle, base=base)
    assert not (bundle / "model.safetensors").exists()
    assert torch.equal(answers(MPlus.from_pretrained(bundle)), expected)


def test_copies_and_pickles_know_their_base_too(base: Path, tmp_path: Path) -> None:
    model = over(base)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.save_pretrained(tmp_path / "bundle", base="reference")
        assert torch.equal(answers(MPlus.from_pretrained(tmp_path / "bundle")), answers(model))


def test_what_a_model_with_memory_has_beside_its_base_does_not_change_the_digest(
    bundle: Path, base: Path, tmp_path: Path
) -> None:
    # Saved whole by us, in shards or not: the base's weights are the same, so they serve as base.
    over(base, seed=8).save_pretrained(tmp_path / "whole")
    expected = answers(MPlus.from_pretrained(bundle))
    assert torch.equal(answers(MPlus.from_pretrained(bundle, base=tmp_path / "whole")), expected)


@pytest.mark.parametrize("retrieved", [0, 4])
def test_another_number_of_retrieved_rows_may_be_asked_for(
    bundle: Path, base: Path, tmp_path: Path, retrieved: int
) -> None:
    over(base).save_pretrained(tmp_path / "whole")
    whole, loaded = (
        MPlus.from_pretrained(path, retrieved_tokens=retrieved)
        for path in (tmp_path / "whole", bundle)
    )
    assert torch.equal(answers(loaded), answers(whole))


def test_rows_that_every_memory_starts_from_are_kept(base: Path, tmp_path: Path) -> None:
    model = over(base)
    model.pristine = Pristine(short_term=torch.randn(4, 24, 32))
    model.save_pretrained(tmp_path / "bundle", base="reference")
    loaded = MPlus.from_pretrained(tmp_path / "bundle")
    assert loaded.new_memory().short_term_rows == 24
    assert torch.equal(answers(loaded), answers(model))


def test_generation_rules_are_the_models_own_and_else_those_of_its_base(
    base: Path, bundle: Path
) -> None:
    model = MPlus.from_pretrained(bundle)
    assert model.model.generation_config is not None
    model.model.generation_config.eos_token_id = [257, 10]
    model.save_pretrained(bundle, base="reference")
    assert MPlus.from_pretrained(bundle).model.generation_config.eos_token_id == [257, 10]  # type: ignore[union-attr]
    (bundle / "generation_config.json").unlink()
    assert MPlus.from_pretrained(bundle).model.generation_config.eos_token_id == 257  # type: ignore[union-attr]


def test_a_tokenizer_that_is_not_the_bases_goes_with_the_bundle(base: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    own = make_tokenizer()
    own.chat_template = "{{ messages[0]['content'] }}"
    over(base, tokenizer=own).save_pretrained(bundle, base="reference")
    assert MPlus.from_pretrained(bundle).tokenizer.chat_template == own.chat_template
    own.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    over(base, tokenizer=own).save_pretrained(bundle, base="reference")
    assert MPlus.from_pretrained(bundle).tokenizer.chat_template == own.chat_template
    over(base).save_pretrained(bundle, base="reference")
    assert not list(bundle.glob("*token*")) + list(bundle.glob("chat*"))
    assert MPlus.from_pretrained(bundle).tokenizer.chat_template is None
    for file in [*base.glob("*token*")]:
        file.unlink()
    over(base).save_pretrained(bundle, base="reference")
    with pytest.raises(TokenizerMissingError):
        _ = MPlus.from_pretrained(bundle).tokenizer


def test_a_notice_stays_and_goes_with_every_copy(bundle: Path, tmp_path: Path) -> None:
    (bundle / "NOTICE").write_text("Made by us.\n")
    model = MPlus.from_pretrained(bundle)
    model.save_pretrained(bundle, base="reference")
    assert (bundle / "NOTICE").read_text() == "Made by us.\n"
    model.save_pretrained(tmp_path / "copy", base="reference")
    model.save_pretrained(tmp_path / "whole")
    for copied in ("copy", "whole"):
        assert (tmp_path / copied / "NOTICE").read_text() == "Made by us.\n"
    again = MPlus.from_pretrained(tmp_path / "whole")
    again.save_pretrained(tmp_path / "third")
    assert (tmp_path / "third" / "NOTICE").read_text() == "Made by us.\n"
    (tmp_path / "copy" / "NOTICE").write_text("And by others.\n")
    model.save_pretrained(tmp_path / "copy", base="reference")
    assert (tmp_path / "copy" / "NOTICE").read_text() == "And by others.\n"


def test_a_memory_of_a_bundle_opens_again_with_it_and_with_the_whole_model(
    bundle: Path, base: Path, tmp_path: Path
) -> None:
    model = MPlus.from_pretrained(bundle)
    store = MemoryStore(tmp_path / "store")
    with store.create("alice", model) as memory:
        model.write(memory, some_ids(60).tolist(), source="notes")
        memory.save(tmp_path / "alice.memory")
    model.save_pretrained(tmp_path / "whole")
    question = some_ids(1, 7)
    expected = model(question, memory=Memory.load(tmp_path / "alice.memory", model)).logits
    for path in (bundle, tmp_path / "whole"):
        again = MPlus.from_pretrained(path)
        with MemoryStore(tmp_path / "store").open("alice", again) as opened:
            assert torch.equal(again(question, memory=opened).logits, expected)
        loaded = Memory.load(tmp_path / "alice.memory", again)
        assert torch.equal(again(question, memory=loaded).logits, expected)


@pytest.mark.parametrize("other", ["adapters", "base"])
def test_a_memory_is_refused_by_other_adapters_and_by_another_base(
    bundle: Path, base: Path, tmp_path: Path, other: str
) -> None:
    model = MPlus.from_pretrained(bundle)
    with MemoryStore(tmp_path / "store").create("alice", model) as memory:
        model.write(memory, some_ids(60).tolist())
        memory.save(tmp_path / "alice.memory")
    if other == "base":
        base = write_base(tmp_path / "other", seed=5)
    over(base, seed=1 if other == "adapters" else 0).save_pretrained(
        tmp_path / "second", base="reference"
    )
    second = MPlus.from_pretrained(tmp_path / "second")
    named = {"adapters": "adapters", "base": "weights"}[other]
    with pytest.raises(MemoryMismatchError, match=named):
        MemoryStore(tmp_path / "store").open("alice", second)
    with pytest.raises(MemoryMismatchError):
        Memory.load(tmp_path / "alice.memory", second)


# Refused ----------------------------------------------------------------------------------------


def test_a_missing_base_is_named_and_may_lie_elsewhere(
    bundle: Path, base: Path, tmp_path: Path
) -> None:
    expected = answers(MPlus.from_pretrained(bundle))
    base.rename(tmp_path / "moved")
    with pytest.raises(BundleBaseMissingError) as refused:
        MPlus.from_pretrained(bundle)
    assert f"needs its base {base}: there is no such directory" in refused.value.message
    assert 'base="DIR"' in refused.value.hint
    assert torch.equal(answers(MPlus.from_pretrained(bundle, base=tmp_path / "moved")), expected)


def test_a_base_without_weights_or_config_is_a_missing_one(bundle: Path, base: Path) -> None:
    (base / "model.safetensors").unlink()
    with pytest.raises(BundleBaseMissingError, match=r"lacks model\.safetensors"):
        MPlus.from_pretrained(bundle)
    (base / "config.json").unlink()
    with pytest.raises(BundleBaseMissingError, match=r"lacks config\.json"):
        MPlus.from_pretrained(bundle)


def test_a_line_in_a_bundle_says_how_its_new_memories_keep_rows(
    bundle: Path, tmp_path: Path
) -> None:
    """Those that are there open, and stay as they are."""
    store, before = MemoryStore(tmp_path / "store"), MPlus.from_pretrained(bundle)
    with store.create("old", before) as memory:
        before.write(memory, some_ids(80).tolist())
        memory.save(tmp_path / "old")
    edit(bundle / "memplus.json", lambda held: held["memory"].update(rows="int8"))
    after = MPlus.from_pretrained(bundle)
    assert after.fingerprint == before.fingerprint
    with store.open("old", after, write=True) as memory:
        after.write(memory, some_ids(80, seed=1).tolist())
        assert memory.rows == "exact"
    assert Memory.load(tmp_path / "old", after).rows == "exact"
    for memory in (after.new_memory(), store.create("new", after)):
        after.write(memory, some_ids(80).tolist())
        assert memory.rows == "int8"
        assert memory.long_term is not None
        assert memory.long_term.rows == "int8"
    after.save_pretrained(tmp_path / "again", base="reference")
    assert MPlus.from_pretrained(tmp_path / "again").new_memory().rows == "int8"


def test_a_bundle_without_its_adapters_is_refused_before_its_base_is_looked_for(
    bundle: Path, base: Path
) -> None:
    (bundle / "adapters.safetensors").unlink()
    shutil.rmtree(base)
    with pytest.raises(MissingWeightsDirectory, match=r"looked for adapters\.safetensors"):
        MPlus.from_pretrained(bundle)


def test_a_bundle_of_another_release_is_refused_as_such(bundle: Path) -> None:
    edit(bundle / "memplus.json", lambda held: held.update(format=9, base={"of": "tomorrow"}))
    with pytest.raises(UnsupportedModelError, match="its format is 9; this release reads 1"):
        MPlus.from_pretrained(bundle)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dtype": "int3"}, "dtype"),
        ({"dtype": None}, "dtype"),
        ({"base": {"kind": "folder"}}, "base.name"),
        ({"base": "smollm2"}, "base"),
    ],
)
def test_a_field_that_cannot_be_is_named(
    bundle: Path, change: dict[str, object], named: str
) -> None:
    edit(bundle / "memplus.json", lambda held: held.update(change))
    with pytest.raises(ConfigError) as refused:
        MPlus.from_pretrained(bundle)
    assert refused.value.fields["field"] == f"{bundle / 'memplus.json'}: {named}"


@pytest.mark.parametrize("kind", ["one number", "another dtype", "another family"])
def test_another_base_is_refused_with_both_digests(bundle: Path, base: Path, kind: str) -> None:
    file = base / "model.safetensors"
    tensors = load_file(file)
    if kind == "one number":
        tensors["model.norm.weight"][3] += 1e-6
        save_file(tensors, file, metadata={"format": "pt"})
    elif kind == "another dtype":
        halves = {name: tensor.bfloat16() for name, tensor in tensors.items()}
        save_file(halves, file, metadata={"format": "pt"})
    else:
        shutil.rmtree(base)
        write_base(base, "gpt_neox")
    with pytest.raises(BundleBaseError, match="SHA-256 of its weights") as refused:
        MPlus.from_pretrained(bundle)
    found, expected = refused.value.fields["found"], refused.value.fields["expected"]
    assert found != expected
    assert str(found) in refused.value.message
    assert str(expected) in refused.value.message


def test_a_tokenizer_of_other_words_is_refused(bundle: Path, base: Path) -> None:
    def swap(held: dict[str, dict[str, dict[str, int]]]) -> None:
        words = held["model"]["vocab"]
        words["A"], words["B"] = words["B"], words["A"]

    edit(base / "tokenizer.json", swap)
    with pytest.raises(BundleBaseError, match="SHA-256 of its tokenizer's words"):
        MPlus.from_pretrained(bundle)


def test_a_bundle_is_no_base_of_a_bundle(bundle: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(NestedBundleError, match=f"its base is {base}"):
        MPlus.from_pretrained(bundle, base=bundle)
    with pytest.raises(NestedBundleError):
        over(base).save_pretrained(tmp_path / "new", base=bundle)
    with pytest.raises(UnsupportedModelError, match="it has a memory already"):
        over(bundle)
    edit(bundle / "memplus.json", lambda held: held["base"].update(name=str(bundle)))
    with pytest.raises(NestedBundleError):
        MPlus.from_pretrained(bundle)
    assert not (tmp_path / "new").exists()


def test_missing_and_unexpected_tensors_of_a_bundle_are_named(bundle: Path) -> None:
    tensors = load_file(bundle / "adapters.safetensors")
    lost = "model.layers.1.self_attn.q_proj.lora_B.default.weight"
    del tensors[lost]
    tensors["model.norm.weight"] = torch.ones(32)
    save_file(tensors, bundle / "adapters.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError) as refused:
        MPlus.from_pretrained(bundle)
    assert refused.value.fields["missing"] == (lost,)
    assert refused.value.fields["unexpected"] == ("model.norm.weight",)
    assert str(bundle) in refused.value.message


def test_a_file_that_was_cut_off_is_damage(bundle: Path) -> None:
    with (bundle / "adapters.safetensors").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(WeightsError, match=r"adapters\.safetensors"):
        MPlus.from_pretrained(bundle)


def test_adapters_that_the_config_does_not_describe_are_refused(bundle: Path) -> None:
    def other(held: dict[str, dict[str, dict[str, object]]]) -> None:
        held["memory"]["adapters"] |= {"rank": 4, "targets": ["q_proj"], "reading": False}

    edit(bundle / "memplus.json", other)
    with pytest.raises(BundleAdaptersError) as refused:
        MPlus.from_pretrained(bundle)
    assert "its rank is 4 by the config, 2 in the file" in refused.value.message
    assert "its layers are q_proj by the config, down_proj, gate_proj" in refused.value.message
    assert "default by the config, decoder_adapter, default in the file" in refused.value.message


def test_a_model_whose_stock_weights_were_changed_is_no_bundle(base: Path, tmp_path: Path) -> None:
    model = over(base)
    with torch.no_grad():
        model.model.get_input_embeddings().weight[3, 3] += 1e-4
    with pytest.raises(BaseChangedError, match=r"1 of its stock weights .*embed_tokens\.weight"):
        model.save_pretrained(tmp_path / "bundle", base="reference")
    with pytest.raises(BaseChangedError):
        over(base).save_pretrained(tmp_path / "bundle", base=write_base(tmp_path / "b", seed=2))
    with pytest.raises(BaseChangedError, match="model_type is llama in its config, and gpt_neox"):
        over(base).save_pretrained(tmp_path / "bundle", base=write_base(tmp_path / "c", "gpt_neox"))
    with pytest.raises(BaseChangedError, match=r"its stock weights differ|missing|misshapen"):
        wider = write_base(tmp_path / "d", changes={"intermediate_size": 64})
        over(base).save_pretrained(tmp_path / "bundle", base=wider)
    assert not (tmp_path / "bundle").exists()


def test_a_config_that_makes_something_else_of_the_same_weights_is_refused(
    bundle: Path, base: Path
) -> None:
    model = MPlus.from_pretrained(bundle)
    edit(base / "config.json", lambda held: held["rope_parameters"].update(rope_theta=20000.0))
    with pytest.raises(BundleBaseError, match=r"rope_theta of its config is 20000\.0, but 10000"):
        MPlus.from_pretrained(bundle)
    with pytest.raises(BaseChangedError, match=r"rope_theta is 10000\.0 in its config, and 20000"):
        model.save_pretrained(bundle, base="reference")


def test_a_model_with_adapters_that_are_not_its_memorys_is_no_bundle(
    base: Path, tmp_path: Path
) -> None:
    stock = make_model()
    inject_adapter_in_model(LoraConfig(target_modules=["q_proj"]), stock, adapter_name="own")
    model = MPlus.from_backbone(stock, CONFIG, tokenizer=make_tokenizer())
    with pytest.raises(BaseChangedError, match="adapters that its memory does not know: own"):
        model.save_pretrained(tmp_path / "bundle", base=base)


def test_a_base_that_is_gone_by_the_time_of_saving_is_named(base: Path, tmp_path: Path) -> None:
    model = over(base)
    shutil.rmtree(base)
    with pytest.raises(UnknownModelError, match="the model was loaded from is gone"):
        model.save_pretrained(tmp_path / "bundle", base="reference")


def test_a_model_that_was_loaded_by_no_name_needs_one(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NoBaseError, match="was not loaded by name"):
        make_mplus().save_pretrained(tmp_path / "bundle", base="reference")
    make_mplus().save_pretrained(tmp_path / "bundle", base=base)
    assert torch.equal(answers(MPlus.from_pretrained(tmp_path / "bundle")), answers(make_mplus()))


def test_a_bundle_does_not_take_the_place_of_its_base(base: Path) -> None:
    model = over(base)
    with pytest.raises(UsageError, match="where the base lies"):
        model.save_pretrained(base, base="reference")
    assert torch.equal(answers(over(base)), answers(model))


def test_a_whole_model_has_no_base_to_look_for(base: Path, tmp_path: Path) -> None:
    make_mplus(config=CONFIG).save_pretrained(tmp_path / "whole")
    with pytest.raises(UsageError, match="holds every weight itself"):
        MPlus.from_pretrained(tmp_path / "whole", base=base)
