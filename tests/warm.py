"""Python in processes that start in a moment: forked from one that has imported what takes longest.

``[*python(), "-c", code]`` and the like run as behind ``sys.executable``: with the same standard
files, directory, environment and exit code, and ended by the same signals. Not for tests of what a
fresh process imports, of how it dies within a call, or of a variable that is read by an import.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
DEAR = ["torch", "transformers", "memplus.cli.main", "memplus.mplus.model", "memplus.store"]

ASKING = """
import json, os, select, signal, socket, sys
FORWARDED = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # until there is a program that can have them
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect(sys.argv[1])
    order = {"arguments": sys.argv[2:], "folder": os.getcwd(), "environment": dict(os.environ)}
    content = json.dumps(order).encode()
    socket.send_fds(asked, [len(content).to_bytes(8, "big")], [0, 1, 2])
    asked.sendall(content)
    wake, wakes = socket.socketpair()
    wakes.setblocking(False)
    def said():
        line = b""
        while not line.endswith(b"\\n"):
            # A handler runs between two steps of Python: of a signal that comes just before a read
            # begins it would wait for the read's end.
            if wake in select.select([asked, wake], [], [])[0]:
                wake.recv(64)
                continue
            byte = asked.recv(1)
            if not byte:
                break
            line += byte
        return line.decode().strip()
    pid = int(said())
    def send(number, frame=None):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    for number in FORWARDED:
        signal.signal(number, send)
    signal.set_wakeup_fd(wakes.fileno())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    while (last := said()) == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
        send(signal.SIGCONT)
    code = int(last)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
"""What a test starts: hands all on, stops and ends as the program does, and takes it along."""


@functools.cache
def python() -> list[str]:
    """What stands for ``sys.executable``."""
    folder = tempfile.mkdtemp(prefix="warm")
    place = str(Path(folder) / "socket")
    command = [sys.executable, "-m", "tests.warm", place]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )

    def end() -> None:
        process.communicate()  # the end of its input
        shutil.rmtree(folder)

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return [sys.executable, "-I", "-S", "-c", ASKING, place]


def served(place: str) -> dict[str, Any]:
    """Fork for what is asked until the input ends; returns in each forked process, its order."""
    for name in DEAR:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin not in select.select([sys.stdin, listening], [], [])[0]:
            asked, _ = listening.accept()
            with asked:
                if os.fork() == 0:
                    order, files = received(asked)
                    watch_in_the_parent(asked)
                    for number, file in enumerate(files):
                        os.dup2(file, number)
                        os.close(file)
                    return order
    sys.exit()


def received(asked: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What is to run, and its standard files."""
    head, files, _, _ = socket.recv_fds(asked, 8, 3)
    return json.loads(asked.makefile("rb").read(int.from_bytes(head, "big"))), files


def watch_in_the_parent(asked: socket.socket) -> None:
    """Return in a child; its parent tells how it ends, and ends it where the asker is killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        return

    def kill_with_the_asker() -> None:
        with contextlib.suppress(OSError):  # it may be reset instead of closed
            asked.recv(1)
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(child, signal.SIGKILL)

    asked.sendall(f"{child}\n".encode())
    threading.Thread(target=kill_with_the_asker, daemon=True).start()
    with contextlib.suppress(OSError):
        while os.WIFSTOPPED(status := os.waitpid(child, os.WUNTRACED)[1]):
            asked.sendall(b"stopped\n")
        asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(order: dict[str, Any]) -> None:
    """Be the interpreter that was asked for."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    kind, *sys.argv = order["arguments"]
    own = sys.modules["__main__"] = sys.modules["__mp_main__"] = ModuleType("__main__")
    if kind == "-c":
        code, sys.argv[0], sys.path[0] = compile(sys.argv[0], "<string>", "exec"), "-c", ""
    elif kind == "-m":
        sys.path[0] = order["folder"]
        found = find_spec(sys.argv[0])
        assert found is not None
        if found.submodule_search_locations is not None:
            found = find_spec(f"{sys.argv[0]}.__main__")
            assert found is not None
        assert isinstance(found.loader, SourceFileLoader)
        code = found.loader.get_code(found.name)
        own.__spec__, own.__package__, own.__file__ = found, found.parent, found.origin
        sys.argv[0] = str(found.origin)
    else:
        sys.argv.insert(0, kind)
        sys.path[0] = str(Path(kind).parent)
        code = compile(Path(kind).read_bytes(), kind, "exec")
        own.__file__ = kind
    exec(code, own.__dict__)


def ended(code: str | int | None) -> NoReturn:
    """End as an interpreter does, but for the seconds of taking apart what was imported."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    try:
        become(served(sys.argv[1]))
    except SystemExit as ending:
        ended(ending.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        ended(1)
    ended(0)
