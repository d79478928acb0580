import pytest

from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.results import results_of
from memplus.evaluation.engine.run import InMemory


def test_figures_of_what_is_recorded(bench: Bench) -> None:
    recorder = InMemory()
    for seed, seconds in ((0, 2.0), (1, 3.0)):
        common = {"plan": f"seed {seed}", "seed": seed, "system": "mplus", "kind": "note"}
        for wanted in (0, 1000, 4000):
            recorder.append(
                common
                | {"key": f"note/0/{wanted}", "wanted": wanted, "distance": wanted + 3}
                | {"right": wanted < 4000, "declined": False, "outdated": False}
                | {"said": "May", "answers": ["May"], "seconds": 0.5, "bytes": 10}
            )
        end = {"tokens": 500, "write_seconds": seconds, "bytes": 100 + seed}
        recorder.append({"plan": f"seed {seed}", "key": "end", **end})
    found = results_of(bench.systems, recorder, 400)
    assert found.text_read == 1.25
    assert results_of(bench.systems, recorder).text_read == 0
    assert [(cell.wanted, cell.asked, cell.right) for cell in found.cells] == [
        (0, 2, 2), (1000, 2, 2), (4000, 2, 0),
    ]  # fmt: skip
    (near,) = found.near
    assert (near.asked, near.right, near.wanted) == (4, 4, None)
    assert found.writing["tokens_per_second"] == 200
    assert found.writing["largest_memory_bytes"] == 101
    assert found.survival == {at: pytest.approx(0.75 ** (at / 6)) for at in (1000, 4000)}
    assert found.titles == {"mplus": "M+", "memoryllm": "MemoryLLM", "nothing": "no memory"}
    assert results_of(bench.systems[2:], recorder).survival == {}
