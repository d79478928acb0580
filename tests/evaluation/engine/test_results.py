import pytest
from tests.fakes import make_model

from memplus import MPlus
from memplus.errors import TokenizerMissingError
from memplus.evaluation.engine.results import encode_with, results_of
from memplus.evaluation.engine.run import LONG_TERM, InMemory
from memplus.evaluation.engine.summary import survival


def test_texts_are_tokenised_together_as_each_by_itself(model: MPlus) -> None:
    texts = ["The gate.", "", " Grün"]
    assert encode_with(model)(texts) == [model.encode(text) for text in texts]


def test_without_a_tokenizer_there_is_nothing_to_evaluate(model: MPlus) -> None:
    with pytest.raises(TokenizerMissingError):
        encode_with(MPlus.from_backbone(make_model(), model.memory_config))


def test_figures_of_what_is_recorded(model: MPlus) -> None:
    recorder = InMemory()
    for seed, seconds in ((0, 2.0), (1, 3.0)):
        common = {"plan": f"seed {seed}", "seed": seed, "method": LONG_TERM, "kind": "note"}
        for wanted in (0, 1000, 4000):
            recorder.append(
                common
                | {"key": f"note/0/{wanted}", "wanted": wanted, "distance": wanted + 3}
                | {"right": wanted < 4000, "abstained": False, "outdated": False}
                | {"seconds": 0.5, "bytes": 10}
            )
        end = {"tokens": 500, "write_seconds": seconds, "bytes": 100 + seed}
        recorder.append({"plan": f"seed {seed}", "key": "end", **end})
    found = results_of(model, recorder, 400)
    assert found.text_read == 1.25
    assert results_of(model, recorder).text_read == 0
    assert [(cell.wanted, cell.asked, cell.right) for cell in found.cells] == [
        (0, 2, 2), (1000, 2, 2), (4000, 2, 0),
    ]  # fmt: skip
    (near,) = found.near
    assert (near.asked, near.right, near.wanted) == (4, 4, None)
    assert found.writing["tokens_per_second"] == 200
    assert found.writing["largest_memory_bytes"] == 101
    config = model.memory_config
    assert found.survival == {at: survival(config, at) for at in (1000, 4000)}
