"""benchmarks/lamemo.py, small: both arms train, and their difference is of the same text."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.warm import python

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "lamemo.py"


@pytest.mark.long
def test_both_arms_are_trained_and_compared(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    lines = [
        json.dumps({"text": f"The gate {n} is red. It rained for days. " * 60}) for n in range(20)
    ]
    texts.write_text("\n".join(lines))
    sizes = ["--segment", "8", "--layers", "2", "--width", "16", "--rows", "4", "--rate", "1e-2"]
    command = [*python(), str(BENCHMARK), "--texts", str(texts), "--steps", "60", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    for bits in run["bits"].values():
        assert 0 < bits < 5.5  # less than a byte's own letters would take
    found = run["bits"]["lamemo"] - run["bits"]["transformer_xl"]
    assert abs(found - run["difference"]) < 2e-4
    assert run["half"] > 0
