from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.conftest import SMALL
from tokenizers import Tokenizer

from memplus.errors import StorageError
from memplus.mplus.model import MPlus
from memplus.training.engine import fresh


@pytest.mark.long
def test_a_fresh_model_is_a_stock_llama_of_the_recipes_sizes(model: MPlus) -> None:
    sizes = SMALL.architecture
    assert type(model.model).__name__ == "LlamaForCausalLM"
    per_layer = 4 * sizes.hidden**2 + 3 * sizes.hidden * sizes.feed_forward + 2 * sizes.hidden
    expected = sizes.layers * per_layer + (sizes.vocabulary + 1) * sizes.hidden
    assert sum(weight.numel() for weight in model.model.parameters()) == expected


def test_an_untrained_model_knows_nothing_but_its_spread_is_sane(model: MPlus) -> None:
    ids = torch.randint(2, SMALL.architecture.vocabulary, (4, 32))
    with torch.no_grad():
        loss = float(model(ids, labels=ids).loss)
    assert loss == pytest.approx(torch.tensor(SMALL.architecture.vocabulary).log().item(), abs=1.5)


def test_generation_stops_at_the_end_of_the_line(model: MPlus) -> None:
    stops = model.model.generation_config.eos_token_id
    assert model.encode("\n")[0] in stops
    assert model.tokenizer.eos_token_id in stops


def test_a_disk_that_is_full_is_named_in_whatever_words_a_library_tells_it(
    model: MPlus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **options: object) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(fresh, "save_file", full)
    rules = model.tokenizer.backend_tokenizer
    assert isinstance(rules, Tokenizer)
    with pytest.raises(StorageError, match="No space left"):
        fresh.write_fresh(tmp_path / "fresh", SMALL.architecture, rules, seed=0)
