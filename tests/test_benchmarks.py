import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

LATENCY = Path(__file__).parents[1] / "benchmarks" / "latency.py"
FIGURES = {
    "write_ratio",
    "first_token_ratio",
    "first_token_warm_ratio",
    "next_token_ratio",
    "evidence_ratio",
    "write_growth",
    "kv_bytes_ratio",
    "key_bytes",
    "bookkeeping_bytes",
}


def latency(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LATENCY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_tiny_shape_runs_end_to_end_and_ends_in_json() -> None:
    done = latency("--shape", "tiny", "--threads", "1", "--rounds", "1")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() == FIGURES | {"shape", "rounds", "machine"}
    assert all(result[name] > 0 for name in FIGURES)
    # 2 of 6 heads of width 8 carry keys and values: 2 * 2 * 8 numbers beside a vector of 48.
    assert result["kv_bytes_ratio"] == pytest.approx(2 / 3)
    assert result["key_bytes"] == 8 * 4
    # The clock of its making in 8 bytes and the id of its write in 4.
    assert result["bookkeeping_bytes"] == 12
    assert result["machine"]["threads"] == 1


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
