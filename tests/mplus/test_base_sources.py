"""The hub and the package index as sources; pip and the hub's client are the real ones."""

from __future__ import annotations

import errno
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
from tests.store.mounts import fill, make_read_only, small_disk

from memplus.mplus.base_progress import QUIET, Watch
from memplus.mplus.base_sources import Unavailable, from_hub, from_hub_cache, from_index
from memplus.mplus.bases import Base

COMMIT = "c" * 40


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


def test_a_disk_that_is_full_is_not_taken_for_an_index_that_lacks_it(
    tiny: Path, index: Path
) -> None:
    base = entry_for(tiny)
    write_wheels(base, tiny, index)
    with small_disk() as disk:
        fill(disk)
        with pytest.raises(OSError, match="No space left") as refused:
            from_index(base, disk, QUIET)
    assert refused.value.errno == errno.ENOSPC


def test_progress_is_told_in_bytes_of_the_file(tiny: Path, index: Path, tmp_path: Path) -> None:
    base = replace(entry_for(tiny), nbytes=50)
    write_wheels(base, tiny, index)
    told: list[tuple[str, int, int]] = []
    from_index(base, tmp_path, Watch(progress=lambda *now: told.append(now)))
    assert told
    assert all(
        0 <= done <= 50 and (stage, total) == ("fetching", 50) for stage, done, total in told
    )


@pytest.mark.parametrize("left", [0, 1000], ids=["empty", "a wheel of an earlier call"])
def test_nothing_is_said_to_be_fetched_where_the_index_lacks_it(
    tiny: Path, index: Path, tmp_path: Path, left: int
) -> None:
    base = entry_for(tiny, parts=2)
    if left:
        (tmp_path / "wheels").mkdir()
        (tmp_path / "wheels" / "001.whl").write_bytes(bytes(left))
    told: list[tuple[str, int, int]] = []
    with pytest.raises(Unavailable, match="did not give"):
        from_index(base, tmp_path, Watch(progress=lambda *now: told.append(now)))
    assert told == []


def test_without_pip_nothing_is_said_to_be_fetched(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    told: list[tuple[str, int, int]] = []
    with pytest.raises(Unavailable, match="pip, which is not installed"):
        from_index(entry_for(tiny), tmp_path, Watch(progress=lambda *now: told.append(now)))
    assert told == []


def test_what_the_hubs_client_has_kept_serves_without_the_hub(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = entry_for(tiny)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match="does not hold it"):
        from_hub_cache(base, tmp_path, QUIET)
    kept = keep(base, tmp_path, tiny.read_bytes())
    assert from_hub_cache(base, tmp_path, QUIET) == [kept]
    kept.unlink()
    kept.symlink_to("/proc/self/mem")  # a file that not even root reads
    with pytest.raises(Unavailable, match="cannot be read"):
        from_hub_cache(base, tmp_path, QUIET)


def keep(base: Base, cache: Path, content: bytes) -> Path:
    """Put a file into a cache as the hub's client does."""
    folder = cache / f"models--{base.hub.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / base.file).write_bytes(content)
    return folder / "snapshots" / COMMIT / base.file


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
            self.send_header("X-Repo-Commit", COMMIT)
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
except OSError as refusal:
    print("disk:", refusal)
"""


PULL = """
import sys
from pathlib import Path
from tests.mplus.gguf_files import entry_for
from memplus.mplus.base_cache import pull
sys.modules["pip"] = None
print(pull(entry_for(Path(sys.argv[1])), cache=Path(sys.argv[2])).path.name)
"""


def asked_in_a_process(
    endpoint: str, gguf: Path, work: Path, digest: str = "", *, code: str = ASK
) -> str:
    """What ``from_hub``, or other code, gives where the hub's client is set up for that address."""
    root = Path(__file__).parents[2]
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(work / "home"), "HF_HUB_OFFLINE": "0"}
    own["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, sys.path)])
    command = [sys.executable, "-c", code, str(gguf), str(work), digest]
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


def test_a_full_disk_is_not_taken_for_a_hub_that_lacks_it(tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    large.write_bytes(bytes(4 << 20))
    with hub_with(entry_for(large), large.read_bytes()) as (endpoint, _), small_disk("2m") as disk:
        assert (
            asked_in_a_process(endpoint, large, disk) == "disk: [Errno 28] No space left on device"
        )


def test_a_read_only_disk_is_not_taken_for_a_hub_that_lacks_it(tiny: Path) -> None:
    with hub_with(entry_for(tiny), tiny.read_bytes()) as (endpoint, _), small_disk() as disk:
        make_read_only(disk)
        assert asked_in_a_process(endpoint, tiny, disk) == "disk: [Errno 30] Read-only file system"


def test_what_the_hubs_client_cannot_read_of_its_own_is_a_reason(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tiny.parent))  # a folder in the place of a file
    with hub_with(entry_for(tiny), tiny.read_bytes()) as (endpoint, _):
        said = asked_in_a_process(endpoint, tiny, tmp_path)
    assert said.startswith("unavailable: the hub did not give it ([Errno 21] Is a directory")


def test_another_file_that_the_hubs_client_has_kept_does_not_hide_the_hubs(
    tiny: Path, tmp_path: Path
) -> None:
    base = entry_for(tiny)
    keep(base, tmp_path / "home" / "hub", b"GGUF of another model")
    with hub_with(base, tiny.read_bytes()) as (endpoint, _):
        assert asked_in_a_process(endpoint, tiny, tmp_path, code=PULL) == "tiny"
