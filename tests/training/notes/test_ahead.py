from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

from memplus.training.notes.ahead import made_ahead
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.jobs import JobSource, NotesJob


def drawn(source: JobSource) -> list[NotesJob]:
    """Steps of which the third begins the next stage, as a resumed run would draw them too."""
    return [source.draw(5, step, 0, int(step > 8)) for step in (7, 8, 9, 10)]


def test_episodes_made_ahead_are_those_made_there_and_then(maker: EpisodeMaker) -> None:
    with made_ahead(maker, 0) as source:
        assert source is maker
    with made_ahead(maker, 1) as source:
        made = drawn(source)
    for one, other in zip(made, drawn(maker), strict=True):
        assert (one.stage, one.seed, one.counts) == (other.stage, other.seed, other.counts)
        for name, part in vars(other.episode).items():
            assert part.equal(getattr(one.episode, name)), name
            assert part.dtype == getattr(one.episode, name).dtype


KILLED = """
import os, pickle, signal, sys
from memplus.training.notes.ahead import made_ahead

def main():
    with open(sys.argv[1], "rb") as file, made_ahead(pickle.load(file), 1) as source:
        source.draw(5, 7, 0, 0)
        print(*source._pool._processes, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main()
"""


def test_the_processes_of_a_killed_training_end(maker: EpisodeMaker, tmp_path: Path) -> None:
    script, saved = tmp_path / "killed.py", tmp_path / "maker.pickle"
    script.write_text(KILLED, encoding="utf-8")
    saved.write_bytes(pickle.dumps(maker))
    # Not by pipes: the end of one that the maker holds would not be seen before it ended.
    said, failed = tmp_path / "said", tmp_path / "failed"
    with said.open("w") as out, failed.open("w") as err:
        ran = subprocess.run(
            [sys.executable, script, saved], stdout=out, stderr=err, timeout=120, check=False
        )
    assert ran.returncode == -signal.SIGKILL, failed.read_text()
    (number,) = said.read_text().split()
    until = time.monotonic() + 30
    while _runs(int(number)):
        assert time.monotonic() < until, "it still waits for work"
        time.sleep(0.1)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    try:  # a dead one that nobody has waited for runs no more
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()
