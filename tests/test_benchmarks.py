import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

LATENCY = Path(__file__).parents[1] / "benchmarks" / "latency.py"
RATIOS = {
    "write_ratio",
    "first_token_ratio",
    "first_token_warm_ratio",
    "next_token_ratio",
    "evidence_ratio",
}
FIGURES = {
    *RATIOS,
    *(name.replace("_ratio", "_ms") for name in RATIOS),
    "tokens_per_second",
    "peak_bytes",
    "kv_bytes_ratio",
    "key_bytes",
    "bookkeeping_bytes",
}


def latency(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LATENCY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_tiny_shape_runs_end_to_end_and_ends_in_json() -> None:
    done = latency("--shape", "tiny", "--threads", "1", "--rounds", "1", "--growth")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() == {"shape", "rounds", "dtypes", "machine"}
    assert result["machine"]["threads"] == 1
    figures = result["dtypes"]["fp32"]
    assert figures.keys() == FIGURES | {"write_growth"}
    assert all(figure > 0 for figure in figures.values())
    # 2 of 6 heads of width 8 carry keys and values: 2 * 2 * 8 numbers beside a vector of 48.
    assert figures["kv_bytes_ratio"] == pytest.approx(2 / 3)
    assert figures["key_bytes"] == 8 * 4
    # The clock of its making in 8 bytes and the id of its write in 4.
    assert figures["bookkeeping_bytes"] == 12
    # Sixteen tokens a write.
    assert figures["tokens_per_second"] == pytest.approx(16 / figures["write_ms"] * 1000)


def test_both_dtypes_are_measured_side_by_side_and_compared() -> None:
    """Growth is left out unless it is asked for."""
    done = latency("--shape", "tiny", "--rounds", "1", "--dtype", "bf16", "--dtype", "fp32")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    half, full = (result["dtypes"][name] for name in ("bf16", "fp32"))
    assert half["write_growth"] is full["write_growth"] is None
    assert half["key_bytes"] == full["key_bytes"] / 2
    for kind, times in result["times_as_fast"].items():
        assert times == pytest.approx(full[f"{kind}_ms"] / half[f"{kind}_ms"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_gpu_shape_is_refused_without_a_gpu() -> None:
    done = latency("--shape", "llama-3.1-8b")

    assert done.returncode == 1
    assert "needs a CUDA GPU" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_the_store_is_measured_end_to_end() -> None:
    sizes = ["--tokens", "700", "1400", "--memories", "2", "--notes", "2", "--rounds", "1"]
    command = [sys.executable, str(LATENCY.with_name("store.py")), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [one["tokens"] for one in result["sizes"]] == [700, 1400]
    assert all(one["open_seconds"] > 0 for one in result["sizes"])
    # 8 bits and a scale of 4 bytes for 128 numbers, beside 2 bytes each.
    assert result["int8_bytes_over_bf16_rows"] == pytest.approx(132 / 256)
    assert result["int8_overlap"] >= 0.99
    assert 0 <= result["notes_right_forgotten"] <= result["notes"] == 2


def test_many_questions_are_measured_beside_single_ones() -> None:
    command = [sys.executable, str(LATENCY.with_name("questions.py")), "--shape", "tiny"]
    sizes = ["--questions", "5", "--single", "3", "--answer-tokens", "4"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["questions"] == 5
    assert result["together_seconds"] > 0
    assert result["ratio"] == pytest.approx(result["together_seconds"] / result["single_seconds"])


def test_the_ladder_of_bytes_falls_and_answers_stay() -> None:
    """The nano, 20 notes under 10 000 tokens: what packed rows cost in answers."""
    path = Path(__file__).parents[1] / "benchmarks" / "bytes.py"
    command = [sys.executable, str(path), "--tokens", "6000", "--notes", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rungs = json.loads(done.stdout.splitlines()[-1])["rungs"]
    assert [rung["rows"] for rung in rungs] == ["exact", "int8", "int4"]
    for figure in ("long_term_per_row", "memory_per_token", "disk_per_token", "told_per_token"):
        exact, int8, int4 = (rung[figure] for rung in rungs)
        assert exact > int8 > int4, figure
    exact, int8, int4 = (rung["right_percent"] for rung in rungs)
    assert exact >= 80
    assert int8 >= exact - 4
    assert int4 >= exact - 10
