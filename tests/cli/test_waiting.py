"""How the threads of a command wait for each other."""

import os
import subprocess
import sys

import pytest

from memplus.cli.waiting import wait_asleep

SHOW = """
import contextlib, os, sys
from memplus.cli.main import main
with contextlib.suppress(SystemExit):
    main(["--version"])
print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""
DECIDED = ["OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"]
UNSET = {name: value for name, value in os.environ.items() if name not in DECIDED}


def shown(**more: str) -> str:
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(
        command, env=UNSET | more, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.splitlines()[-1]


def test_a_command_decides_before_torch_is_loaded() -> None:
    assert shown() == "PASSIVE False"
    assert shown(OMP_NUM_THREADS="2") == "None False"


@pytest.mark.parametrize("name", DECIDED)
def test_what_somebody_decided_stays(name: str) -> None:
    given = {name: "1"}
    wait_asleep(given)
    assert given == {name: "1"}
