"""What a processor multiplies natively, from the names of what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memplus.backbone import processor
from memplus.backbone.processor import bfloat16_unit, multiplies_fast

# Zen 4 and Cooper Lake; Sapphire Rapids; the same whose host hides its tiles; one of long ago.
KINDS = {
    "avx512": ({"avx2", "avx512_bf16"}, "AVX512-BF16", True),
    "amx": ({"avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"}, "AMX", True),
    "hidden amx": ({"avx512_bf16", "avx512_fp16"}, "AVX512-BF16", False),
    "none": ({"avx2", "fma"}, None, False),
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is found out once is found out anew before and after each test."""
    for known in (bfloat16_unit, multiplies_fast, processor._features):
        known.cache_clear()
    yield
    for known in (bfloat16_unit, multiplies_fast, processor._features):
        known.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_units_and_their_speed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, unit, fast = KINDS[kind]
    monkeypatch.setattr(processor, "_told_by_torch", lambda: frozenset(features))
    assert bfloat16_unit() == unit
    assert multiplies_fast(torch.bfloat16) is fast
    assert multiplies_fast(torch.float32)
    assert not multiplies_fast(torch.float16)


def test_linux_is_asked_where_torch_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", told)
    assert bfloat16_unit() is None  # there is no such file, as on other systems
    processor._features.cache_clear()
    bfloat16_unit.cache_clear()
    told.write_text("processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2 amx_bf16 amx_tile\n")
    assert bfloat16_unit() == "AMX"


def test_torch_and_linux_agree_on_this_machine() -> None:
    told = processor._told_by_linux(Path("/proc/cpuinfo"))
    torch_says = processor._told_by_torch()
    if not (told and torch_says):
        pytest.skip("only one of the two tells")
    for name in ("amx_bf16", "avx512_bf16", "avx512_fp16"):
        assert (name in told) == (name in torch_says)
