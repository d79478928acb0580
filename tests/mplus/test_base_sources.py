"""The hub and the package index as sources; pip and the hub's client are the real ones."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.mplus.gguf_files import entry_for, write_gguf, write_wheels

from memplus.mplus.base_progress import QUIET, Watch
from memplus.mplus.base_sources import Unavailable, from_hub, from_index
from memplus.mplus.bases import Base


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is set up for, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_wheels_are_downloaded_alone_and_in_order(tiny: Path, index: Path, tmp_path: Path) -> None:
    base = entry_for(tiny, parts=3)
    wheels = write_wheels(base, tiny, index)
    work = tmp_path / "work"
    work.mkdir()
    got = from_index(base, work, QUIET)
    assert [path.read_bytes() for path in got] == [path.read_bytes() for path in wheels]
    # Nothing that a wheel depends on was fetched, and nothing of pip's own is left.
    assert sorted(path.name for path in work.rglob("*") if path.is_file()) == [
        "001.whl",
        "002.whl",
        "003.whl",
    ]


def test_what_an_interrupted_download_had_got_is_not_fetched_again(
    tiny: Path, index: Path, tmp_path: Path
) -> None:
    base = entry_for(tiny, parts=2)
    first, second = write_wheels(base, tiny, index)
    second_content = second.read_bytes()
    second.unlink()
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(Unavailable, match=r"tiny-base-part2==0\.3\.0"):
        from_index(base, work, QUIET)
    first.unlink()
    second.write_bytes(second_content)
    assert len(from_index(base, work, QUIET)) == 2


def test_a_package_that_the_index_lacks_is_said_in_pips_words(
    tiny: Path, index: Path, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match=r"did not give tiny-base==0\.3\.0 \(ERROR: No matching"):
        from_index(entry_for(tiny), tmp_path, QUIET)


def test_progress_is_told_in_bytes_of_the_file(tiny: Path, index: Path, tmp_path: Path) -> None:
    base = replace(entry_for(tiny), nbytes=50)
    write_wheels(base, tiny, index)
    told: list[tuple[str, int, int]] = []
    from_index(base, tmp_path, Watch(progress=lambda *now: told.append(now)))
    assert told
    assert all(
        0 <= done <= 50 and (stage, total) == ("fetching", 50) for stage, done, total in told
    )


def test_the_hub_is_not_asked_where_its_client_is_set_to_stay_offline(
    tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="stay offline"):
        from_hub(entry_for(tiny), tmp_path, QUIET)


@contextmanager
def hub_with(base: Base, content: bytes) -> Iterator[tuple[str, list[str]]]:
    """A hub on this machine that has one file: its address, and what is asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, *, with_content: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            found = self.path == f"/{base.hub}/resolve/main/{base.file}"
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("ETag", f'"{base.sha256}"')
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()
            if with_content and found:
                self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


ASK = """
import sys
from pathlib import Path
from tests.mplus.gguf_files import entry_for
from dataclasses import replace
from memplus.mplus.base_progress import QUIET
from memplus.mplus.base_sources import Unavailable, from_hub
gguf, work, digest = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
base = entry_for(gguf)
try:
    (got,) = from_hub(replace(base, sha256=digest or base.sha256), work, QUIET)
    print("same" if got.read_bytes() == gguf.read_bytes() else "other")
except Unavailable as reason:
    print("unavailable:", reason)
"""


def asked_in_a_process(endpoint: str, gguf: Path, work: Path, digest: str = "") -> str:
    """What ``from_hub`` gives where the hub's client is set up for that address."""
    root = Path(__file__).parents[2]
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(work / "home"), "HF_HUB_OFFLINE": "0"}
    own["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, sys.path)])
    command = [sys.executable, "-c", ASK, str(gguf), str(work), digest]
    done = subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_the_hub_gives_the_file(tiny: Path, tmp_path: Path) -> None:
    with hub_with(entry_for(tiny), tiny.read_bytes()) as (endpoint, asked):
        assert asked_in_a_process(endpoint, tiny, tmp_path) == "same"
    assert any(one.startswith("GET") and one.endswith(tiny.name) for one in asked)


def test_another_file_on_the_hub_is_known_before_it_is_fetched(tiny: Path, tmp_path: Path) -> None:
    with hub_with(entry_for(tiny), tiny.read_bytes()) as (endpoint, asked):
        said = asked_in_a_process(endpoint, tiny, tmp_path, "0" * 64)
    assert said.startswith("unavailable: the hub has another file")
    assert not any(one.startswith("GET") and one.endswith(tiny.name) for one in asked)


def test_a_hub_that_cannot_be_reached_is_a_reason(tiny: Path, tmp_path: Path) -> None:
    with hub_with(entry_for(tiny), b"") as (endpoint, _):
        pass  # nobody listens there any more
    assert asked_in_a_process(endpoint, tiny, tmp_path).startswith(
        "unavailable: the hub did not give it"
    )
