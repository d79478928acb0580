import json
import subprocess
from pathlib import Path

from tests.data.test_answerable import squad
from tests.warm import python

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "scm_gate.py"


def test_the_command_measures_the_bundled_nano_and_keeps_what_the_system_reads(
    tmp_path: Path,
) -> None:
    out = tmp_path / "nano-plain.json"
    command = [*python(), str(SCRIPT), "--model", "nano", "--questions", str(squad(tmp_path))]
    done = subprocess.run(
        [*command, "--each", "6", "--gate-each", "4", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == found
    assert found["gate"]["pairs"] == 8
    assert found["answers"]["pairs"] == 12
    for one in found.values():
        assert 0 <= one["low"] <= one["accuracy"] <= one["high"] <= 1
