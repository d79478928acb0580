import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.data.test_answerable import squad
from tests.warm import python

from memplus.data.statements import HELD_OUT_TOPICS, read_statements, statement_topics

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "scm_gate.py"
TRAINING = [one for one in statement_topics() if one not in HELD_OUT_TOPICS]


def measured(folder: Path, out: Path, *options: str) -> Any:
    command = [*python(), str(SCRIPT), "--model", "nano", "--questions", str(squad(folder))]
    done = subprocess.run(
        [*command, *options, "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == found
    return found


@pytest.mark.long
def test_the_command_measures_the_bundled_nano_and_keeps_what_the_system_reads(
    tmp_path: Path,
) -> None:
    out = tmp_path / "nano-plain.json"
    found = measured(tmp_path, out, "--each", "6", "--gate-each", "4")
    assert found["gate"]["pairs"] == 8
    assert found["answers"]["pairs"] == 12
    for one in found.values():
        assert 0 <= one["low"] <= one["accuracy"] <= one["high"] <= 1
    again = measured(tmp_path, out, "--question", "1", "--gate-each", "6")
    assert again["gate"]["pairs"] == 12
    assert again["answers"] == found["answers"]


def test_every_kind_of_question_needs_memory_and_no_split_shares_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script: Any = importlib.import_module("scm_gate")
    path = squad(tmp_path)
    parts = [script.needing_memory(path, split, 8) for split in ("train", "held_out")]
    assert [len(set(part)) for part in parts] == [8, 8]
    assert not set(parts[0]) & set(parts[1])
    for part, topics in zip(parts, (TRAINING, HELD_OUT_TOPICS), strict=True):
        told = {asked.question for one in read_statements(topics) for asked in one.questions}
        assert part[1] in told
        assert part[5] in told
