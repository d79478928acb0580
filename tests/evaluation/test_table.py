import json
from pathlib import Path

import pytest
from tests.evaluation.conftest import BOOKS, silent
from tests.evaluation.test_experiments import held_out
from tests.systems.conftest import SHARED

from memplus.data.word_search import installed
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.experiments import Tellings
from memplus.evaluation.probes.perplexity import Windows
from memplus.evaluation.table import Predicted, Table, evaluate_table
from memplus.systems.registry import make_systems

BENCH = Bench(
    make_systems(["full_context", "mplus", "memoryllm", "nothing"], SHARED), SHARED.reference
)
PREDICTED = Predicted(60, Windows(3, 12))


def measured(folder: Path, min_confidence: float | None = None) -> Table:
    tellings = Tellings(held_out(), items=3, seeds=1, folder=folder)
    return evaluate_table(BENCH, BOOKS, tellings, PREDICTED, min_confidence, silent)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table")
    measured(path)
    return path


@pytest.mark.long
def test_every_part_is_in_the_table_and_in_the_folder(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    rows = {row["measure"]: row for row in summary["rows"]}
    assert set(rows["set, alone, at once: contained"]["figures"]) == {
        "full_context", "mplus", "nothing",
    }  # fmt: skip
    assert set(rows["set, after 30 tokens: contained"]["figures"]) == {"mplus", "memoryllm"}
    assert "never told: declined" in rows
    assert any(measure.startswith("perplexity") for measure in rows)
    assert any("evidence" in measure for measure in rows) == any(
        row["figures"]["mplus"]["value"] for measure, row in rows.items()
        if measure == "set, after 30 tokens: contained"
    )  # fmt: skip
    assert summary["systems"].get("bm25") == ("BM25" if installed() else None)
    text = (folder / "table.md").read_text()
    assert all(f"| {measure} |" in text for measure in rows)
    assert "| full context | M+ | MemoryLLM | no memory |" in text
    assert ("| BM25 |" in text) == installed()


def test_what_is_known_is_not_run_again(folder: Path) -> None:
    files = [folder / part for part in ("alone/answers.jsonl", "told/answers.jsonl")]
    files.append(folder / "perplexity.jsonl")
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    again = measured(folder)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    assert json.loads(json.dumps(again.to_dict()))["rows"] == rows


def test_another_threshold_needs_no_other_run(folder: Path) -> None:
    before = (folder / "told/answers.jsonl").read_bytes()

    def declined(min_confidence: float | None) -> dict[str, float]:
        rows = {row.measure: row for row in measured(folder, min_confidence).rows}
        return {
            name: rows[name].figures["mplus"].value
            for name in ("never told: declined", "told: declined")
        }

    assert declined(1.0) == {"never told: declined": 1, "told: declined": 1}
    assert declined(0.0) == declined(None) == {"never told: declined": 0, "told: declined": 0}
    assert (folder / "told/answers.jsonl").read_bytes() == before


def test_texts_too_short_are_refused_before_anything_runs(tmp_path: Path) -> None:
    tellings = Tellings(held_out(), items=3, seeds=1, folder=tmp_path / "out")
    with pytest.raises(ConfigError, match="tokens cannot be"):
        evaluate_table(BENCH, BOOKS, tellings, Predicted(10**6, Windows(1)), None, silent)
    assert not (tmp_path / "out").exists()
