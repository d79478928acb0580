"""What goes wrong at the command line: each its message, its exit code, and nothing damaged."""

import json
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from memplus.cli.output import Output, Report
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus

TEXT = "The gate of the old house is red. It has been so for many years. Nobody knows why. "
Run = Callable[..., Any]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def memory(run: Run, tmp_path: Path, tiny: Path, text: Path) -> Path:
    path = tmp_path / "m.memory"
    assert run("write", text, "-m", path, "--model", tiny).code == 0
    return path


def failure(ran: Any) -> tuple[int, str]:
    return ran.code, ran.data["error"]["type"]


def test_people_see_message_and_hint_on_stderr(run: Run, tmp_path: Path, tiny: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    ran = run("write", empty, "-m", tmp_path / "m", "--model", tiny)
    assert ran.out == ""
    assert ran.err.startswith(f"error: {empty} is empty.\n")
    assert "visible character" in ran.err


def test_an_empty_question(run: Run, memory: Path, tiny: Path) -> None:
    ran = run("ask", "  ", "-m", memory, "--model", tiny, "--json")
    assert failure(ran) == (2, "EmptyTextError")


def test_a_prompt_that_does_not_fit_the_positions_left(run: Run, memory: Path, tiny: Path) -> None:
    ran = run("ask", "Why? " * 60, "-m", memory, "--model", tiny, "--json")
    assert failure(ran) == (2, "PositionsError")
    assert "positions" in ran.data["error"]["message"]


def test_a_model_that_is_not_a_decoder(run: Run, memory: Path, tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "encoder"
    shutil.copytree(tiny, other)
    config = json.loads((other / "config.json").read_text())
    changed = config | {"model_type": "bert", "architectures": ["BertModel"]}
    (other / "config.json").write_text(json.dumps(changed))
    ran = run("ask", "Why?", "-m", memory, "--model", other, "--json")
    assert failure(ran) == (2, "NotADecoderError")


def test_a_model_with_a_weight_missing_is_named(run: Run, tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    tensors = load_file(other / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    ran = run("doctor", other, "--json")
    assert failure(ran) == (4, "WeightsError")
    assert "model.norm.weight" in ran.data["error"]["message"]


@pytest.mark.parametrize(("flag", "value"), [("--dtype", "int7"), ("--device", "abacus")])
def test_a_device_or_dtype_that_is_not_there(run: Run, tiny: Path, flag: str, value: str) -> None:
    assert failure(run("doctor", tiny, flag, value, "--json")) == (2, "ConfigError")


def test_usage_errors_end_with_2(run: Run) -> None:
    assert run("write").code == 2
    assert run("no-such-command").code == 2
    assert run("demo", "--notes", "0").code == 2


def test_a_place_that_cannot_be_written_is_found_before_the_reading(
    run: Run, tmp_path: Path, tiny: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MPlus, "write", lambda *args, **options: pytest.fail("it was written"))
    there = tmp_path / "absent" / "m"
    ran = run("write", text, "-m", there, "--model", tiny, "--json")
    assert failure(ran) == (2, "NotFoundError")
    ran = run("demo", "--text", text, "--model", tiny, "--picture", there, "--json")
    assert failure(ran) == (2, "NotFoundError")


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond ``limit`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file(run: Run, memory: Path, tiny: Path, text: Path) -> None:
    before = memory.read_bytes()
    with full_disk(limit=1000):
        ran = run("write", text, "-m", memory, "--model", tiny, "--json")
    assert failure(ran) == (1, "StorageError")
    assert memory.read_bytes() == before
    assert [path.name for path in memory.parent.iterdir() if path.name.startswith(".")] == []


def test_ctrl_c_in_a_long_write_saves_what_was_written(
    run: Run, tmp_path: Path, tiny: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def pressing(self: Output) -> Iterator[Report]:
        calls: list[int] = []

        def report(label: str, done: int, total: int) -> None:
            calls.append(done)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGINT)

        yield report

    monkeypatch.setattr(Output, "progress", pressing)
    path = tmp_path / "m.memory"
    ran = run("write", text, "-m", path, "--model", tiny, "--json")
    assert ran.code == 130
    assert ran.data["interrupted"]
    assert "is saved" in ran.err
    model = MPlus.from_pretrained(tiny)
    kept = Memory.load(path, model)
    assert len(kept.writes) == 2
    expected = model.new_memory()
    model.write(expected, TEXT[: 2 * model.memory_config.chunk_tokens], source=str(text))
    question = "What is red?"
    assert model.ask(kept, question).evidence == model.ask(expected, question).evidence
