from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.training.masked.settings import make_config

from memplus.errors import ConfigError
from memplus.training.engine.config_file import config_kind
from memplus.training.masked.run_config import load_adapter_config

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_shipped_configs_are_read_and_stay_below_six_megabytes() -> None:
    found = [path for path in CONFIGS.rglob("*.yaml") if config_kind(path) == "adapter"]
    assert CONFIGS / "ret_llm" / "train.yaml" in found
    for path in found:
        config = load_adapter_config(path)
        assert config.base == "smollm2"
        # Numbers of the seven layers of SmolLM2, thirty times, two bytes each.
        per_rank = 30 * ((576 + 576) * 2 + (576 + 192) * 2 + (576 + 1536) * 3)
        assert 2 * per_rank * config.adapter.rank < 6e6


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"run": {"steps": 0}}, "run.steps"),
        ({"run": {"keep": 0}}, "run.keep"),
        ({"run": {"step": 3}}, "run.step"),
        ({"adapter": {"rank": 0}}, "adapter.adapter.rank"),
        ({"examples": []}, "examples"),
        ({"examples": [{"kind": "no"}]}, "examples.0.kind"),
        ({"optimizer": {"kind": "muon"}}, "optimizer.kind"),
        ({"dtype": "bfloat16"}, "run.precision"),
        ({"kind": "other"}, "kind"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(tmp_path, **changes)
    assert caught.value.fields["field"] == name
