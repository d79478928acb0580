"""The commands as a user runs them, on a tiny model in a directory."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.fakes import make_mplus

from memplus.memory.state import Memory
from memplus.mplus.model import MPlus

TEXT = "The gate of the old house is red. It has been so for many years. Nobody knows why. "


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 3)
    return path


def run_json(run: Run, *arguments: object) -> dict[str, Any]:
    ran = run(*arguments, "--json")
    assert (ran.code == 0) == ("error" not in ran.data)
    return ran.data | {"code": ran.code}


@pytest.fixture
def memory(run: Run, tmp_path: Path, tiny: Path, text: Path) -> Path:
    path = tmp_path / "m.memory"
    run_json(run, "write", text, "--memory", path, "--model", tiny)
    return path


def test_write_adds_up_and_writes_no_text_twice(
    run: Run, tmp_path: Path, tiny: Path, text: Path
) -> None:
    path = tmp_path / "m.memory"
    first = run_json(run, "write", text, "--memory", path, "--model", tiny)
    second = run_json(run, "write", text, "-m", path, "--model", tiny, "--flush")
    model = MPlus.from_pretrained(tiny)
    length = len(model.encode(TEXT * 3))
    assert first["total_tokens"] + first["waiting"] == length
    assert (second["total_tokens"], second["waiting"]) == (length, 0)
    assert Memory.load(path, model).tokens == length


def test_ask_inspect_and_chat(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    memory: Path,
    tiny: Path,
) -> None:
    before = memory.read_bytes()
    answer = run_json(run, "ask", "What is red?", "-m", memory, "--model", tiny)
    model = MPlus.from_pretrained(tiny)
    opened = Memory.load(memory, model)
    assert answer["text"] == model.ask(opened, "What is red?").text
    assert answer["evidence"][0]["source"].endswith("text.txt")
    held = run_json(run, "inspect", "-m", memory, "--model", tiny, "--question", "What is red?")
    assert held["tokens"] == opened.tokens
    assert held["retrieved"]
    assert memory.read_bytes() == before
    lines = iter(["The dog is old.\n", "\n", "Who is old?\n", ""])
    monkeypatch.setattr("sys.stdin.readline", lambda: next(lines), raising=False)
    talk = run_json(run, "chat", "-m", memory, "--model", tiny)
    assert [turn["said"] for turn in talk["turns"]] == ["The dog is old.", "Who is old?"]
    after = Memory.load(memory, model)
    assert after.source_tokens["chat"] + len(after.tail) > 0
    assert after.tokens + len(after.tail) > opened.tokens + len(opened.tail)


def test_people_get_words(run: Run, memory: Path, tiny: Path) -> None:
    code, out, err = run("inspect", "-m", memory, "--model", tiny, "--question", "What is red?")
    assert code == 0
    assert "short-term" in out
    assert err == ""
    code, out, _ = run("ask", "What is red?", "-m", memory, "--model", tiny, "--evidence")
    assert code == 0
    assert "%" in out


def test_doctor_finds_health_and_sickness(run: Run, tmp_path: Path, tiny: Path) -> None:
    assert run_json(run, "doctor", tiny)["healthy"]
    sick = make_mplus()
    next(iter(sick.model.parameters())).data[0, 0] = float("nan")
    sick.save_pretrained(tmp_path / "sick")
    code, out, _ = run("doctor", tmp_path / "sick", "--json")
    assert code == 1
    assert not json.loads(out)["healthy"]


@pytest.mark.long
def test_demo_draws_its_curve(run: Run, tmp_path: Path, tiny: Path, text: Path) -> None:
    picture = tmp_path / "curve.png"
    text.write_text(TEXT * 14)
    arguments = ("--text", text, "--model", tiny, "--notes", 3, "--picture", picture)
    shown = run_json(run, "demo", *arguments)
    assert set(shown["accuracy"]) == {"mplus", "memoryllm", "nothing"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("demo", *arguments)
    assert code == 0
    assert "tokens since the statement" in out


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"", "EmptyTextError"), (b"a\0b", "NotTextError"), (b"caf\xe9 au lait", "NotTextError")],
)
def test_bad_text_is_named_and_nothing_is_made(
    run: Run,
    tmp_path: Path,
    tiny: Path,
    content: bytes,
    named: str,
) -> None:
    bad, path = tmp_path / "bad.txt", tmp_path / "m.memory"
    bad.write_bytes(content)
    data = run_json(run, "write", bad, "-m", path, "--model", tiny)
    assert (data["code"], data["error"]["type"]) == (2, named)
    assert not path.exists()


def test_bad_models_and_memories_have_their_exit_codes(
    run: Run, tmp_path: Path, memory: Path, tiny: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for model, code in (("no-such-model", 2), (empty, 2)):
        assert run_json(run, "ask", "What?", "-m", memory, "--model", model)["code"] == code
    other = tmp_path / "other"
    make_mplus(seed=7).save_pretrained(other)
    assert run_json(run, "ask", "What?", "-m", memory, "--model", other)["code"] == 3
    raw = bytearray(memory.read_bytes())
    raw[len(raw) // 2] ^= 1
    memory.write_bytes(raw)
    assert run_json(run, "ask", "What?", "-m", memory, "--model", tiny)["code"] == 4
    code, _, err = run("ask", "What?", "-m", tmp_path / "none", "--model", tiny)
    assert code == 2
    assert "none" in err


def test_a_budget_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path, tiny: Path, text: Path
) -> None:
    path = tmp_path / "m.memory"
    arguments = ("write", text, "-m", path, "--model", tiny, "--max-bytes", 1000)
    data = run_json(run, *arguments)
    assert (data["code"], data["error"]["type"]) == (2, "BudgetError")
    assert not path.exists()


def test_the_environment_is_below_the_flags(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    memory: Path,
    tiny: Path,
) -> None:
    monkeypatch.setenv("MEMPLUS_MODEL", str(tiny))
    monkeypatch.setenv("MEMPLUS_MEMORY", str(memory))
    monkeypatch.setenv("MEMPLUS_JSON", "1")
    code, out, _ = run("inspect")
    assert code == 0
    assert json.loads(out)["memory"] == str(memory)
    code, out, _ = run("inspect", "--model", "no-such-model")
    assert code == 2
    assert json.loads(out)["error"]["type"] == "UnknownModelError"
