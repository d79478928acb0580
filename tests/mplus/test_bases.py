"""The registry of base models: complete, and read without any model library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from memplus.errors import UnknownModelError
from memplus.mplus.bases import Base, find_base, known_bases, read_bases
from memplus.mplus.bundled import BUNDLED

BASES = list(known_bases().values())


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_an_entry_says_all_that_is_needed_to_fetch_and_check_it(base: Base) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", base.sha256)
    assert 10**7 < base.nbytes < base.parameters * 2
    assert base.licence == "Apache-2.0"
    assert base.hub.count("/") == base.model.count("/") == 1
    assert base.file.endswith(".gguf")
    assert len(set(base.packages.named())) == base.packages.parts
    assert "{" not in "".join(base.packages.named())
    assert base.name not in BUNDLED
    assert "/" not in base.name


def test_the_parts_of_a_model_are_named_in_the_order_of_their_numbers() -> None:
    names = find_base("qwen-1.5b").packages.named()
    assert [int(re.findall(r"\d+", name)[-1]) for name in names] == list(range(1, 23))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownModelError, match=r"smollm2, qwen-0\.5b, qwen-1\.5b"):
        find_base("smollm3")


def test_a_further_model_is_one_further_entry(tmp_path: Path) -> None:
    registry = tmp_path / "bases.yaml"
    registry.write_text(
        "own:\n  purpose: p\n  model: a/b\n  parameters: 5\n  licence: MIT\n"
        "  chat_template: chatml\n  hub: a/b-GGUF\n  file: b.gguf\n  bytes: 9\n  sha256: 00\n"
        '  packages: {name: own, version: "1", parts: 1, member: "*/b.gguf"}\n'
    )
    base = read_bases(registry)["own"]
    assert (base.nbytes, base.packages.named()) == (9, ["own"])


def test_listing_loads_no_model_library() -> None:
    code = (
        "import sys; from memplus.mplus.bases import known_bases; known_bases();"
        "from memplus.mplus.base_cache import leftovers; leftovers();"
        "assert not {'torch', 'transformers', 'peft', 'gguf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
