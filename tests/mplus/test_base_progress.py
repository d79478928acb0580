"""What somebody at a terminal sees of a fetch, and what somebody without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios

import pytest

from memplus.mplus.base_progress import QUIET, watch_on_stderr

TELL = """
from memplus.mplus.base_progress import watch_on_stderr
with watch_on_stderr() as watch:
    watch.line("Fetching tiny: 2 MB")
    for done in (0, 1_000_000, 2_000_000):
        watch.progress("fetching", done, 2_000_000)
    watch.progress("converting", 0, 0)
"""


def shown_at_a_terminal(bars: str) -> str:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": bars}
    environment.pop("TQDM_DISABLE", None)
    subprocess.run([sys.executable, "-c", TELL], env=environment, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    return shown


def test_without_a_terminal_there_is_the_line_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with watch_on_stderr() as watch:
        watch.line("Fetching tiny: 2 MB")
        watch.progress("fetching", 1, 2)
    assert capsys.readouterr().err == "Fetching tiny: 2 MB\n"


def test_a_terminal_has_a_bar_in_bytes_unless_they_are_turned_off() -> None:
    shown = shown_at_a_terminal("0")
    assert shown.startswith("Fetching tiny: 2 MB")
    assert "fetching: 100%" in shown
    assert "2.00M/2.00M" in shown
    assert shown_at_a_terminal("1").strip() == "Fetching tiny: 2 MB"


def test_quiet_takes_everything_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    QUIET.line("words")
    QUIET.progress("fetching", 1, 2)
    assert capsys.readouterr() == ("", "")
