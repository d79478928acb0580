from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.warm import python

SAYS = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["MARK"], sys.stdin.read(), "torch" in sys.modules)
print("told", file=sys.stderr)
sys.exit(7)
"""


def test_it_has_the_files_folder_environment_and_code_of_a_fresh_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [*python(), "-c", SAYS, "a", "b"], input="given", capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"MARK": "x"}, check=False,
    )  # fmt: skip
    assert done.stdout == f"['a', 'b'] {tmp_path} x given True\n"
    assert (done.stderr, done.returncode) == ("told\n", 7)


def test_modules_and_scripts_are_run_as_the_main_one(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'found'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside\nprint(__name__, beside.WORD, sys.argv[1:])\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(script.read_text())
    asked = ([str(script), "x"], ["-m", "script", "x"], ["-m", "package", "x"])
    for arguments in asked:
        command = [*python(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stdout == "__main__ found ['x']\n"


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("1 / 0", 1),
        ("pass", 0),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_it_ends_as_the_program_does(code: str, ends: int) -> None:
    for command in ([*python(), "-c", code], [sys.executable, "-c", code]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == ends
        assert done.stderr.rstrip().endswith("division by zero" if ends == 1 else "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ends_it_ends_the_program(number: int) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    command = [*python(), "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as made:
        assert made.stdout is not None
        pid = int(made.stdout.readline())
        try:
            made.send_signal(number)
            made.communicate(timeout=60)
        finally:
            made.kill()  # or leaving the block would wait for ever
    assert made.returncode == -number
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_stops_goes_on_with_it() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('on')"
    with subprocess.Popen([*python(), "-c", code], stdout=subprocess.PIPE, text=True) as made:
        _, status = os.waitpid(made.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        made.send_signal(signal.SIGCONT)
        assert made.communicate(timeout=60)[0] == "on\n"
    assert made.returncode == 0


def test_what_a_script_defines_is_found_by_other_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "class Own: pass\n"
        "def made(): return Own()\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(type(pool.apply(made)) is Own)\n"
    )
    done = subprocess.run(
        [*python(), str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "True\n"
