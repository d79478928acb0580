"""``benchmarks/peers`` without anybody else's software: the plan, our rows, the report."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.test_benchmarks import squad_file
from tests.warm import python

PEERS = Path(__file__).parents[1] / "benchmarks" / "peers"

HEADER = {"format": 1, "what": "plan", "model": "nano", "seed": 0, "tokens": 40, "weights": None}
GATE, KEEPER = "The gate is red.", "The keeper, Ada, sleeps."
LINES = [
    HEADER,
    {"write": f" {GATE}", "tokens": 20},
    {"write": "\n\n", "tokens": 1},
    {"write": f" {KEEPER}", "tokens": 19},
    {
        "ask": [
            {"key": "passage/0/0/9", "kind": "passage", "question": "What is red?"}
            | {"answers": ["the gate", "gate"], "told": GATE, "distance": 9},
            {"key": "statement/1/0/9", "kind": "statement", "question": "Who sleeps?"}
            | {"answers": ["Ada"], "told": KEEPER, "distance": 9},
        ]
    },
]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that knows the files, as the scripts import it."""
    monkeypatch.syspath_prepend(str(PEERS))
    return importlib.import_module("lines")


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    return write(tmp_path / "plan.jsonl", LINES)


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    return path


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*python(), str(PEERS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def export(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str | Path) -> None:
    """Run ``plan.py`` in this process."""
    given = ["plan.py", "--model", "nano", *map(str, arguments), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", given)
    importlib.import_module("plan").main()


def results(lines: ModuleType, plan_file: Path, name: str, **given: dict[str, Any]) -> Path:
    """A file of results, one ``asked`` for each key with underscores for slashes."""
    path = plan_file.with_name(f"{name}.jsonl")
    writer = lines.Writer(
        path, lines.read_plan(plan_file), system=name, by="theirs 1.0", settings={"top": 2}
    )
    for key, found in given.items():
        writer.asked(key.replace("_", "/"), 0.5, **found)
    writer.end(writes=2, tokens=40, write_seconds=1.0, nbytes=80)
    return path


def report(plan_file: Path, *paths: Path) -> tuple[int, list[dict[str, Any]], str]:
    done = script("report.py", plan_file, *paths, "--json")
    rows = json.loads(done.stdout)["rows"] if done.stdout else []
    return done.returncode, rows, done.stderr


# The plan ---------------------------------------------------------------------------------------


def test_the_plan_tells_what_is_held_out_and_asks_for_it(tmp_path: Path, lines: ModuleType) -> None:
    squad, out = squad_file(tmp_path / "dev.json"), tmp_path / "out" / "plan.jsonl"
    sizes = ["--items", "3", "--border", "512", "--distance", "64"]
    done = script("plan.py", "--model", "nano", "--squad", squad, *sizes, "--out", out)
    assert done.returncode == 0, done.stderr
    plan = lines.read_plan(out)
    steps = list(plan.steps)
    whole = "".join(piece for pieces, _ in steps for piece in pieces)
    questions = plan.questions
    assert {one["kind"] for one in questions} == {"SQuAD", "statement"}
    for one in questions:
        assert one["told"] in whole
        assert one["distance"] >= 64
        assert one["answers"]
    assert len({one["key"] for one in questions}) == len(questions)
    written = sum(line.get("tokens", 0) for line in plan.lines)
    assert written == plan.header["tokens"]
    assert written % 512 == 0
    told_before = 0
    for pieces, asked in steps:
        told_before += len("".join(pieces))
        assert all(one["told"] in whole[:told_before] for one in asked)


def test_the_same_plan_comes_of_the_same_seed_and_statements_alone_do(
    tmp_path: Path, lines: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--items", "2", "--border", "256", "--distance", "1"]
    found = []
    for seed, name in ((0, "one"), (0, "again"), (1, "other")):
        out = tmp_path / name
        export(monkeypatch, out, *options, "--seed", str(seed))
        found.append(lines.read_plan(out).sha256)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (["no json"], "JSON lines"),
        ([json.dumps({**HEADER, "format": 9})], "format 1"),
        ([json.dumps(HEADER), json.dumps({"tell": "it"})], "either"),
    ],
)
def test_another_file_than_a_plan_is_refused(
    content: list[str], said: str, tmp_path: Path, lines: ModuleType
) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_text("\n".join(content) + "\n")
    with pytest.raises(SystemExit, match=said):
        lines.read_plan(path)


# Results and their report -----------------------------------------------------------------------


def test_answers_and_retrieved_texts_are_judged_by_one_judge(
    plan_file: Path, lines: ModuleType
) -> None:
    said = results(
        lines,
        plan_file,
        "talks",
        passage_0_0_9={"said": "It is THE GATE, of course."},
        statement_1_0_9={"said": "The keeper."},
    )
    found = results(
        lines,
        plan_file,
        "searches",
        passage_0_0_9={"retrieved": ["A gate elsewhere.", f" {GATE}"]},
        statement_1_0_9={"retrieved": ["The keeper,"]},
    )
    code, (talks, searches), _ = report(plan_file, plan_file, said, found)
    assert code == 0
    assert (talks["counts"], searches["counts"]) == ("right answers", "text found")
    for row in (talks, searches):
        assert (row["all"]["right"], row["all"]["asked"]) == (1, 2)
        assert row["passage"]["right"] == 1
        assert row["statement"]["right"] == 0
        low, high = row["all"]["interval"]
        assert low < 0.5 < high
        assert row["bytes_per_token"] == 2
        assert row["seconds_per_write"] == 0.5
        assert row["seconds_per_1000_tokens"] == 25
        assert row["seconds_per_question"] == 0.5
    table = script("report.py", plan_file, said, found).stdout
    assert "| talks | theirs 1.0 | right answers | 1 of 2" in table


def test_a_text_that_only_looks_like_what_was_told_is_not_found(
    plan_file: Path, lines: ModuleType
) -> None:
    found = results(
        lines,
        plan_file,
        "searches",
        passage_0_0_9={"retrieved": ["A gate elsewhere."]},
        statement_1_0_9={"retrieved": []},
    )
    _, (row,), _ = report(plan_file, found)
    assert row["all"]["right"] == 0


def test_an_error_or_a_missing_answer_is_shown_and_fails_and_is_not_wrong(
    plan_file: Path, lines: ModuleType
) -> None:
    path = results(lines, plan_file, "breaks", passage_0_0_9={"error": "out of memory"})
    code, (row,), message = report(plan_file, path)
    assert code == 1
    assert row["without"] == 2
    assert row["all"]["asked"] == 0
    assert "{'breaks': 2}" in message


def test_results_of_another_plan_are_refused(
    plan_file: Path, tmp_path: Path, lines: ModuleType
) -> None:
    path = results(lines, plan_file, "talks", passage_0_0_9={"said": "gate"})
    other = write(tmp_path / "other.jsonl", [HEADER, *LINES[2:]])
    done = script("report.py", other, path)
    assert done.returncode == 1
    assert "another plan" in done.stderr


def test_a_process_is_killed_between_two_writes(tmp_path: Path, lines: ModuleType) -> None:
    code = (
        "import sys, time\n"
        "for number in range(50):\n"
        "    open(sys.argv[1], 'a').write('x')\n"
        "    print(number, flush=True)\n"
        "    time.sleep(0.05)\n"
    )
    target = tmp_path / "written"
    done = lines.kill_during_writes([sys.executable, "-c", code, str(target)], 5, 0.01)
    assert 5 <= done < 50
    assert done <= len(target.read_text()) <= done + 1
    with pytest.raises(SystemExit, match="ended after 0"):
        lines.kill_during_writes([sys.executable, "-c", ""], 5, 0)


# Our own rows -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_our_own_systems_answer_the_plan_and_a_killed_write_loses_nothing(
    plan_file: Path, lines: ModuleType
) -> None:
    out = plan_file.parent
    done = script("run_memplus.py", plan_file, "--systems", "mplus,nothing", "--out", out)
    assert done.returncode == 0, done.stderr
    paths = [out / f"memplus-{name}.jsonl" for name in ("mplus", "nothing")]
    code, (mplus, nothing), _ = report(plan_file, *paths)
    assert code == 0
    assert mplus["all"]["asked"] == nothing["all"]["asked"] == 2
    assert mplus["seconds_per_write"] > 0
    killed = mplus["killed"]
    assert killed["left"] >= killed["acknowledged"] >= 1
    assert killed["torn"] == 0
    assert nothing["killed"] is None


@pytest.mark.slow
def test_retrieved_texts_are_read_by_our_reader(plan_file: Path, lines: ModuleType) -> None:
    found = results(
        lines,
        plan_file,
        "searches",
        passage_0_0_9={"retrieved": [f" {GATE}"]},
        statement_1_0_9={"retrieved": []},
    )
    done = script("answer.py", plan_file, found)
    assert done.returncode == 0, done.stderr
    code, (row,), _ = report(plan_file, found.with_name("searches-answered.jsonl"))
    assert code == 0
    assert row["system"] == "searches, read by nano"
    assert row["counts"] == "right answers"
    assert row["seconds_per_question"] > 0.5


def test_no_script_needs_more_than_the_standard_library_before_its_own_environment() -> None:
    """They run in whatever interpreter they are started with, and change into theirs."""
    own = {path.stem for path in PEERS.glob("*.py")}
    for name in ("environment.py", "lines.py", "run_mem0.py", "run_kvpress.py"):
        heads = [
            line.split()[1].split(".")[0]
            for line in (PEERS / name).read_text().splitlines()
            if line.startswith(("import ", "from "))
        ]
        assert set(heads) <= {*sys.stdlib_module_names, *own}, name


@pytest.mark.parametrize("name", ["kvpress", "mem0"])
def test_every_package_of_an_environment_is_pinned(name: str) -> None:
    text = (PEERS / "requirements" / f"{name}.txt").read_text()
    packages = [line for line in text.splitlines() if not line.startswith("#")]
    assert any(line.startswith(name) for line in packages)
    assert all(line.count("==") == 1 for line in packages)


def test_the_table_takes_the_place_of_an_older_one_at_the_end_of_a_page(
    lines: ModuleType, plan_file: Path, tmp_path: Path
) -> None:
    answers = {"passage_0_0_9": {"said": "the gate"}, "statement_1_0_9": {"said": "Ada"}}
    found = results(lines, plan_file, "theirs", **answers)
    page = tmp_path / "page.md"
    page.write_text("# Systems\n\n| ours |\n")
    for _ in range(2):
        done = script("report.py", plan_file, found, "--page", page)
        assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("# Systems\n\n| ours |\n\n## Programs that others wrote\n\n")
    assert text.count("## Programs") == text.count("2 of 2 (34%-100%)") == 1
