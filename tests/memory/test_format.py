"""A memory as a file: equal after a new process, and any damage is a named error."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.mplus.test_writer import assert_equal, contents
from tests.warm import python

from memplus import Memory, MPlus
from memplus.config import CounterEviction, OldestEviction
from memplus.errors import (
    CorruptMemoryError,
    MemoryChangedError,
    MemoryFileError,
    MemoryMismatchError,
    MemoryVersionError,
    NotAMemoryError,
    NotFoundError,
    StorageError,
    UsageError,
)
from memplus.memory import tensor_file
from memplus.memory.packing import RowKind
from memplus.memory.tensor_file import write_tensors
from memplus.sessions.conversation import Conversation
from memplus.store import MemoryStore

MODEL = make_mplus()
COUNTED = replace(CONFIG, eviction=CounterEviction())


def written(model: MPlus = MODEL, tokens: int = 83) -> Memory:
    memory = model.new_memory(seed=3)
    model.write(memory, some_ids(tokens).tolist(), source='a "sha256":"\\ é')
    return memory


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "m.mem"
    written().save(path)
    return path.read_bytes()


@pytest.mark.parametrize("tokens", [0, 7, 12, 33, 83, 120])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retrieved_tokens": 0},
        {"eviction": OldestEviction(max_rows=9)},
        {"eviction": CounterEviction(every=3, initial=2.0)},
    ],
    ids=["plain", "no store", "oldest", "counter"],
)
def test_a_loaded_memory_is_the_saved_one(
    tmp_path: Path, tokens: int, changes: dict[str, Any]
) -> None:
    model = make_mplus(config=replace(CONFIG, **changes))
    memory = model.new_memory(seed=3, max_bytes=10**9)
    if tokens:
        model.write(memory, some_ids(tokens).tolist(), source="é")
    memory.save(tmp_path / "m.mem")
    loaded = Memory.load(tmp_path / "m.mem", model)
    assert_equal(contents(loaded), contents(memory))
    assert (loaded.seed, loaded.max_bytes, loaded.config) == (3, 10**9, memory.config)
    for one in (memory, loaded):  # they go on alike
        model.write(one, some_ids(45, seed=1).tolist(), source="b")
    assert_equal(contents(loaded), contents(memory))
    with torch.no_grad():
        left, right = (model(some_ids(4), memory=one).logits for one in (memory, loaded))
    assert torch.equal(left, right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_survives(tmp_path: Path, dtype: torch.dtype) -> None:
    model = make_mplus(dtype=dtype)
    memory = written(model)
    memory.save(tmp_path / "m.mem")
    assert_equal(contents(Memory.load(tmp_path / "m.mem", model)), contents(memory))


NEW_PROCESS = """
import sys, torch
from memplus import Memory
from tests.fakes import make_mplus, some_ids
model = make_mplus()
memory = Memory.load(sys.argv[1], model)
with torch.no_grad():
    before = model(some_ids(5), memory=memory).logits
    model.write(memory, some_ids(40, seed=6).tolist(), source="later")
    after = model(some_ids(5), memory=memory).logits
torch.save([before, after], sys.argv[2])
"""


def test_a_new_process_gives_bit_equal_logits(tmp_path: Path) -> None:
    memory = written()
    memory.save(tmp_path / "m.mem")
    root = Path(__file__).resolve().parents[2]
    arguments = [*python(), "-c", NEW_PROCESS, str(tmp_path / "m.mem"), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    subprocess.run(arguments, check=True, cwd=root, env=environment)
    before, after = torch.load(tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(MODEL(some_ids(5), memory=memory).logits, before)
        MODEL.write(memory, some_ids(40, seed=6).tolist(), source="later")
        assert torch.equal(MODEL(some_ids(5), memory=memory).logits, after)


def refused(path: Path, content: bytes) -> Exception:
    path.write_bytes(content)
    with pytest.raises(MemoryFileError) as caught:
        Memory.load(path, MODEL)
    assert caught.value.exit_code == 4
    assert path.read_bytes() == content
    return caught.value


def header_length(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


@pytest.mark.long
def test_any_flipped_byte_of_the_header_is_found(tmp_path: Path, saved: bytes) -> None:
    path = tmp_path / "m.mem"
    for place in range(header_length(saved)):
        damaged = bytearray(saved)
        damaged[place] ^= 1 << place % 8
        refused(path, bytes(damaged))


def test_flipped_bytes_of_the_payload_are_found(tmp_path: Path, saved: bytes) -> None:
    lot = random.Random(0)
    for _ in range(200):
        damaged = bytearray(saved)
        damaged[lot.randrange(header_length(saved), len(saved))] ^= 1 << lot.randrange(8)
        error = refused(tmp_path / "m.mem", bytes(damaged))
        assert isinstance(error, CorruptMemoryError)


def test_a_file_cut_short_or_grown_is_found(tmp_path: Path, saved: bytes) -> None:
    lot = random.Random(1)
    lengths = {0, 1, 7, 8, 9, header_length(saved), len(saved) - 1}
    lengths |= {lot.randrange(len(saved)) for _ in range(100)}
    for length in lengths:
        refused(tmp_path / "m.mem", saved[:length])
    refused(tmp_path / "m.mem", saved + b"\0")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"hello", "seems to be a text"),
        (b"It was a bright cold day in April. " * 90, "seems to be a text"),
        (b"{}", "seems to be a text"),
        (b"%PDF-1.7 " + b"x" * 90, "PDF"),
        (b"PK\x03\x04" + bytes(90), "memories import"),
        (b"\x1f\x8b\x08" + bytes(90), "compressed"),
        (b"SQLite format 3\0" + bytes(90), "SQLite"),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "image"),
        (bytes(90), "begins as no memory does"),
    ],
)
def test_something_else_is_not_a_memory(tmp_path: Path, content: bytes, what: str) -> None:
    error = refused(tmp_path / "book", content)
    assert isinstance(error, NotAMemoryError)
    assert "book is not a memory: " in str(error)
    assert what in str(error)
    assert "copy" not in str(error)


def test_a_folder_a_store_and_a_pipe_are_not_a_memory(tmp_path: Path) -> None:
    for folder in (tmp_path / "folder", tmp_path / "s"):
        folder.mkdir()
    (tmp_path / "s" / "memories").mkdir()
    (tmp_path / "s" / "store").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("folder", "is a folder"), ("s", "--store"), ("pipe", "regular file")):
        with pytest.raises(NotAMemoryError, match=what):
            Memory.load(tmp_path / name, MODEL)


def test_a_memory_takes_no_pipes_place(tmp_path: Path) -> None:
    place, link = tmp_path / "pipe", tmp_path / "link"
    memory = written()
    memory.save(place)  # where it came from is looked at once more, which would wait for a writer
    place.unlink()
    os.mkfifo(place)
    link.symlink_to(place)
    for path in (place, link):
        with pytest.raises(UsageError, match="no regular file"):
            memory.save(path)
    assert place.is_fifo()


def test_weights_are_no_memory(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "weights")
    error = refused(tmp_path / "m.mem", (tmp_path / "weights").read_bytes())
    assert isinstance(error, NotAMemoryError)


@pytest.mark.parametrize("model", ["nano", None, MPlus], ids=str)
def test_what_is_no_model_is_told_what_one_is(tmp_path: Path, model: Any) -> None:
    written().save(tmp_path / "a.memory")
    store = MemoryStore(tmp_path / "s")
    with store.create("there", MODEL):
        pass
    said = f"The model is an MPlus, .* not {type(model).__name__}"
    for door in (
        lambda: Memory.load(tmp_path / "a.memory", model),
        lambda: store.open("there", model),
        lambda: store.open("there", model, write=True),
        lambda: store.open_or_create("there", model),
        lambda: store.create("new", model),
        lambda: store.make("new", model),
        lambda: Conversation(model, MODEL.new_memory()),
    ):
        with pytest.raises(UsageError, match=said):
            door()
    assert store.names() == ["there"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing") as caught:
        Memory.load(tmp_path / "nothing", MODEL)
    assert caught.value.exit_code == 2


def rewritten(saved: bytes, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The saved memory with another header and a right checksum."""
    source = path.with_suffix(".source")
    source.write_bytes(saved)
    with safe_open(source, framework="pt") as reader:
        names = list(reader.keys())
        tensors = {name: reader.get_tensor(name) for name in names}
        header = json.loads(reader.metadata()["memplus"])
    change(header)
    write_tensors(path, tensors, json.dumps(header))


@pytest.mark.parametrize("version", [3, 99, "1.0", None, True, 0, -1])
def test_another_version_is_named(tmp_path: Path, saved: bytes, version: object) -> None:
    path = tmp_path / "m.mem"
    rewritten(saved, path, lambda header: header.update(version=version))
    with pytest.raises(MemoryVersionError, match=f"version {version}") as caught:
        Memory.load(path, MODEL)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("rows", ["exact", "int8"])
def test_a_file_of_version_1_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: RowKind
) -> None:
    """It said `packed`, and its 8-bit rows lay about zero."""
    monkeypatch.setattr("memplus.memory.long_term.centres_of", lambda *_: {})
    memory = MODEL.new_memory(seed=3)
    if rows == "int8":
        memory.pack()
    MODEL.write(memory, some_ids(120).tolist(), source="a")
    memory.save(tmp_path / "m")

    def older(header: dict[str, Any]) -> None:
        header["version"] = 1
        header["packed"] = header.pop("rows") == "int8"

    rewritten((tmp_path / "m").read_bytes(), tmp_path / "older", older)
    opened = Memory.load(tmp_path / "older", MODEL)
    assert opened.rows == rows
    assert_equal(contents(opened), contents(memory))


@pytest.mark.parametrize("version", [1, 2])
def test_rows_of_an_unknown_kind_are_damage(tmp_path: Path, saved: bytes, version: int) -> None:
    def strange(header: dict[str, Any]) -> None:
        del header["rows"]
        header |= {"version": version, "packed" if version == 1 else "rows": "int3"}

    rewritten(saved, tmp_path / "m", strange)
    with pytest.raises(CorruptMemoryError, match="header"):
        Memory.load(tmp_path / "m", MODEL)


@pytest.mark.parametrize(
    "name", ["config", "writes", "tail", "clock", "source_tokens", "memory_version", "count"]
)
def test_a_header_that_lacks_something_is_damaged(tmp_path: Path, saved: bytes, name: str) -> None:
    path = tmp_path / "m.mem"
    rewritten(saved, path, lambda header: header.pop(name))
    with pytest.raises(CorruptMemoryError):
        Memory.load(path, MODEL)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (lambda: make_mplus(seed=9), "weights"),
        (lambda: make_mplus(dtype=torch.bfloat16), "in float32, and this model is in bfloat16"),
        (lambda: make_mplus("gemma3"), "weights"),
        (lambda: make_mplus(config=replace(CONFIG, short_term_tokens=30)), "short_term_tokens"),
        (lambda: make_mplus(config=replace(CONFIG, chunk_tokens=11)), "chunk_tokens"),
        (lambda: make_mplus(config=replace(CONFIG, retrieved_tokens=0)), "retrieved_tokens"),
        (lambda: make_mplus(seed=9, config=replace(CONFIG, retrieved_tokens=2)), "weights"),
        (lambda: make_mplus(config=replace(COUNTED, retrieved_tokens=2)), "retrieved_tokens"),
    ],
    ids=["weights", "dtype", "family", "pool", "chunk", "memoryllm", "weights and M", "counter"],
)
def test_another_model_is_refused(
    tmp_path: Path, saved: bytes, other: Callable[[], MPlus], word: str
) -> None:
    path = tmp_path / "m.mem"
    path.write_bytes(saved)
    with pytest.raises(MemoryMismatchError, match=word) as caught:
        Memory.load(path, other())
    assert caught.value.exit_code == 3
    assert path.read_bytes() == saved


def test_the_same_weights_may_retrieve_fewer_rows_of_it_or_more(tmp_path: Path) -> None:
    written(make_mplus()).save(tmp_path / "m.mem")
    prompt = some_ids(5)[None]
    for retrieved in (2, 2 * CONFIG.retrieved_tokens):
        other = make_mplus(config=replace(CONFIG, retrieved_tokens=retrieved))
        expected = written(other)
        loaded = Memory.load(tmp_path / "m.mem", other)
        assert loaded.config == other.memory_config
        found = [other(prompt, memory=one).logits for one in (loaded, expected)]
        assert torch.equal(*found)
        loaded.save(tmp_path / "again.mem")
        again = Memory.load(tmp_path / "again.mem", make_mplus())
        assert again.config == CONFIG
        with pytest.raises(MemoryMismatchError, match="retrieved_tokens"):
            other(prompt, memory=again)


def test_a_memory_of_changed_weights_is_not_saved_as_theirs(tmp_path: Path) -> None:
    model = make_mplus()
    memory = written(model)
    with torch.no_grad():
        model.model.lm_head.weight.add_(1)  # type: ignore[union-attr,operator]
    with pytest.raises(MemoryMismatchError):
        memory.save(tmp_path / "m.mem")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_somebody_else_has_changed_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.mem"
    written(tokens=12).save(path)
    mine, theirs = Memory.load(path, MODEL), Memory.load(path, MODEL)
    fork = mine.fork()
    MODEL.write(theirs, some_ids(40, seed=5).tolist())
    theirs.save(path)
    held = path.read_bytes()
    for one in (mine, fork):
        with pytest.raises(MemoryChangedError, match="has been changed since"):
            one.save(path)
    assert path.read_bytes() == held
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.mem"]
    theirs.save(path)  # who saved last may save again
    mine.save(tmp_path / "other")
    path.unlink()
    mine.save(path)
    assert_equal(contents(Memory.load(path, MODEL)), contents(mine))


class _Disk:
    """Counts the calls that need the disk and refuses one of them."""

    def __init__(self, refuse: int) -> None:
        self.calls = 0
        self.refuse = refuse

    def guard(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.refuse:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **options)

        return guarded


@contextmanager
def full_disk(patch: pytest.MonkeyPatch, refuse: int) -> Iterator[_Disk]:
    disk = _Disk(refuse)
    with patch.context() as patched:
        patched.setattr(tensor_file, "save_file", disk.guard(tensor_file.save_file))
        patched.setattr(tempfile, "mkstemp", disk.guard(tempfile.mkstemp))
        for name in ("fsync", "close", "replace", "chmod"):
            patched.setattr(os, name, disk.guard(getattr(os, name)))
        patched.setattr(io, "open", disk.guard(io.open))
        yield disk


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.mem"
    written(tokens=12).save(path)
    old = path.read_bytes()
    memory = written()
    with full_disk(monkeypatch, refuse=0) as disk:
        memory.save(path)
    assert disk.calls >= 6
    failed = 0
    for refuse in range(1, disk.calls + 1):
        path.write_bytes(old)
        memory = written()
        refusal = None
        try:
            with full_disk(monkeypatch, refuse):
                memory.save(path)
        except StorageError as error:
            refusal = error
        if refusal is None:
            # After the rename nothing can be taken back: the new file is whole.
            assert_equal(contents(Memory.load(path, MODEL)), contents(memory))
        else:
            failed += 1
            assert (refusal.exit_code, "No space left" in str(refusal)) == (1, True)
            assert path.read_bytes() == old
        assert [entry.name for entry in tmp_path.iterdir()] == ["m.mem"]
    assert failed >= 5


def test_an_interruption_while_saving_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.mem"
    written(tokens=12).save(path)
    old = path.read_bytes()

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written().save(path)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.mem"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no folder .*no"):
        written().save(tmp_path / "no" / "m.mem")


def test_forks_are_saved_alone(tmp_path: Path) -> None:
    memory = written()
    fork = memory.fork()
    MODEL.write(fork, some_ids(50, seed=4).tolist())
    for name, one in (("a", memory), ("b", fork)):
        one.save(tmp_path / name)
        assert_equal(contents(Memory.load(tmp_path / name, MODEL)), contents(one))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 elsewhere")
def test_a_file_whose_name_is_not_utf8_is_saved_and_loaded(tmp_path: Path) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.memory")
    memory.save(path)
    assert_equal(contents(Memory.load(path, model)), contents(memory))


@pytest.mark.parametrize("path", ["a\0b", b"a.memory", None, 5])
def test_what_is_no_path_is_refused_by_name(tmp_path: Path, path: Any) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path / "s")
    store.create("a", model).close()
    for act in (
        lambda: model.new_memory().save(path),
        lambda: Memory.load(path, model),
        lambda: model.save_pretrained(path),
        lambda: store.export("a", path),
        lambda: MemoryStore(path),
    ):
        with pytest.raises(UsageError, match="path"):
            act()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_no_numbers_are_found_as_the_file_is_opened(
    tmp_path: Path, number: float
) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())
    assert memory.pool is not None
    memory.pool.columns["v"][-1, -1, -1] = number
    memory.save(tmp_path / "a.memory")
    with pytest.raises(CorruptMemoryError, match=r"pool\.v"):
        Memory.load(tmp_path / "a.memory", model)
