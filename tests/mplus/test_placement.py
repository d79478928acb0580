"""Devices and dtypes are said as transformers takes them, and refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_model, make_mplus, some_ids

from memplus import MPlus
from memplus.errors import ConfigError, UnknownModelError, UsageError
from memplus.mplus import placement
from memplus.mplus.placement import Placement, dtype_for, place


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    make_mplus().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        ("torch.float32", torch.float32),
        (torch.float64, torch.float64),
        ("auto", None),
        (None, None),
    ],
)
def test_dtypes_are_names_or_objects(given: Any, expected: torch.dtype | None) -> None:
    assert place(given, None, {}).dtype == expected


@pytest.mark.parametrize("given", ["float9", "half", "int8", torch.int8, 16, "", ["float32"]])
def test_an_unknown_dtype_is_refused_with_the_known_ones(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"dtype cannot be .*auto or one of float32, bfloat16"):
        place(given, None, {})


@pytest.mark.parametrize("given", [None, "cpu", torch.device("cpu")])
def test_the_cpu_is_there_however_it_is_said(given: Any) -> None:
    assert place(None, given, {}).device.type == "cpu"
    assert place(None, None, {"device_map": given}).device.type == "cpu"
    assert place(None, None, {"device_map": {"": given}}).device.type == "cpu"


@pytest.mark.parametrize("given", ["cuda:99", "meta", "gpu", "", 99, [0], "disk", -5])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"device cannot be .*this machine, which has cpu"):
        place(None, given, {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_says_so(directory: Path) -> None:
    for load in (
        lambda: MPlus.from_pretrained(directory, device="cuda"),
        lambda: MPlus.from_pretrained("nano", device_map="cuda:0"),
        lambda: MPlus.from_backbone(directory, CONFIG, device=torch.device("cuda")),
    ):
        with pytest.raises(ConfigError, match="no device of this machine"):
            load()


@pytest.mark.parametrize("given", ["auto", "balanced", {"a": "cpu", "b": "disk"}, {}, {"": "auto"}])
def test_a_map_of_several_devices_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"device_map cannot be .*one device"):
        place(None, None, {"device_map": given})


def test_device_and_device_map_may_not_contradict_each_other() -> None:
    assert place(None, "cpu", {"device_map": "cpu"}).device.type == "cpu"
    with pytest.raises(ConfigError):
        place(None, "cpu", {"device_map": "cuda:0"})


def test_an_unknown_option_is_named(directory: Path) -> None:
    with pytest.raises(ConfigError, match=r"revison cannot .*known are cache_dir"):
        MPlus.from_pretrained(directory, revison="main")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="torch_dtype"):
        MPlus.from_backbone(directory, CONFIG, torch_dtype="auto")  # type: ignore[call-arg]


def test_names_of_dtypes_load_a_model(directory: Path, tmp_path: Path) -> None:
    assert MPlus.from_pretrained(directory, dtype="bfloat16").backbone.dtype == torch.bfloat16
    assert MPlus.from_pretrained(directory, dtype="auto").backbone.dtype == torch.float32
    make_model().save_pretrained(tmp_path / "stock")
    model = MPlus.from_backbone(tmp_path / "stock", CONFIG, dtype="float16", device="cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.float16}
    memory = model.new_memory()
    model.write(memory, some_ids(30).tolist())
    assert memory.tokens == 30


def test_a_loaded_model_is_where_it_is() -> None:
    with pytest.raises(UsageError, match="loaded already"):
        MPlus.from_backbone(make_model(), CONFIG, dtype="bfloat16")
    with pytest.raises(UsageError, match="loaded already"):
        MPlus.from_backbone(make_model(), CONFIG, device="cpu")


def test_the_options_of_the_hub_reach_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def download(repo: str, **options: Any) -> str:
        seen.update(options, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    make_mplus().save_pretrained(tmp_path)
    MPlus.from_pretrained("a/b", revision="v1", token="secret", cache_dir="/c", device_map="cpu")
    assert seen.pop("allow_patterns")
    assert seen == {"repo": "a/b", "revision": "v1", "token": "secret", "cache_dir": "/c"}


def test_what_is_not_kept_is_not_fetched_when_nothing_may_be(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="the hub did not give it") as caught:
        MPlus.from_pretrained("no/such", cache_dir=tmp_path, local_files_only=True)
    assert not caught.value.message.endswith("..")
    assert "Offline" in caught.value.hint


@pytest.mark.parametrize("unit", ["AMX", "AVX512-BF16", None])
@pytest.mark.parametrize("fast", [True, False])
def test_a_base_on_the_cpu_is_in_bfloat16_where_the_processor_multiplies_it(
    unit: str | None, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(placement, "multiplies_fast", lambda dtype: fast)
    chosen = dtype_for(place(None, None, {}), over_base=True)
    assert chosen.dtype == (torch.float32 if unit is None else torch.bfloat16)
    assert ("neither" if unit is None else f"natively ({unit})") in chosen.why
    assert ("no faster" in chosen.why) is (unit is not None and not fast)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float32)],
)
def test_a_base_on_a_gpu_is_in_bfloat16_where_the_gpu_multiplies_it(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory was trained in float32, in which it would take twice the time and the bytes."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    placed = Placement(None, torch.device("cuda"), {}, dtype_given=False)
    assert dtype_for(placed, over_base=True).dtype == expected
    assert "GPU" in dtype_for(placed, over_base=True).why
    assert dtype_for(placed, over_base=False).dtype is None
    assert dtype_for(replace(placed, dtype_given=True), over_base=True).dtype is None


@pytest.mark.parametrize(
    ("given", "over_base", "expected"),
    [
        ("float32", True, torch.float32),
        (torch.float16, True, torch.float16),
        ("bfloat16", False, torch.bfloat16),
        ("auto", True, None),
        ("auto", False, None),
        (None, False, None),
    ],
)
def test_what_is_asked_for_and_other_models_are_as_ever(
    given: Any, over_base: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the processor."""
    for unit in ("AMX", None):
        monkeypatch.setattr(placement, "bfloat16_unit", lambda unit=unit: unit)
        chosen = dtype_for(place(given, None, {}), over_base=over_base)
        assert chosen.dtype == expected
        assert chosen.why == ("the checkpoint's own" if expected is None else "as asked for")
