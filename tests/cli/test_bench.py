"""``memplus bench`` as a user runs it, on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.systems.conftest import SHARED

from memplus.bench import make_task
from memplus.cli.bench_made import SMOLLM2, Given, made_by
from memplus.systems.nothing import NothingSession

GIVEN = ("--lengths", "0", "--items", 1, "--set", "kinds=notes", "--set", "seeds=1")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("The gate is red. It rained. Nobody came. " * 40)
    return path


@pytest.mark.long
def test_a_benchmark_is_run_shown_resumed_and_drawn(
    run: Run, tmp_path: Path, tiny: Path, book: Path
) -> None:
    out = tmp_path / "out"
    given = ("bench", "retention", "--model", tiny, "--texts", book, "--out", out, *GIVEN)
    ran = run(*given, "--system", "mplus,nothing", "--json")
    assert ran.code == 0, ran.err
    assert [one["system"] for one in ran.data["results"]] == ["mplus", "nothing"]
    assert json.loads((out / "summary.json").read_text())["task"] == "retention"
    answers = (out / "mplus" / "answers.jsonl").read_bytes()
    shown = run(*given, "--system", "mplus,nothing")
    assert "note: right" in shown.out
    assert "no memory" in shown.out
    assert (out / "mplus" / "answers.jsonl").read_bytes() == answers
    assert "## retention" in (out / "table.md").read_text()
    checked = run("bench", "check", out, "--model", tiny, "--texts", book, "--json")
    assert (checked.code, checked.data["parted"]) == (0, [])
    drawn = run("bench", "plot", out, "--json")
    assert Path(drawn.data["picture"]).is_file()
    refused = run(*given, "--items", 2)
    assert refused.code == 2
    assert "options" in refused.err


@pytest.mark.long
def test_figures_that_do_not_hold_any_more_are_told(
    run: Run, tmp_path: Path, tiny: Path, book: Path
) -> None:
    page, out = tmp_path / "page.md", tmp_path / "out"
    ran = run("bench", "retention", "--model", tiny, "--texts", book, "--out", out, *GIVEN,
              "--system", "bm25,nothing")  # fmt: skip
    assert ran.code == 0, ran.err
    assert run("bench", "page", page, out).code == 0
    given = ("bench", "check", page, "--model", tiny, "--texts", book)
    assert "All 1 benchmarks match today" in run(*given).out
    figures = page.with_suffix(".json").read_text()

    def told(old: str, new: str) -> str:
        page.with_suffix(".json").write_text(figures.replace(old, new))
        assert run("bench", "page", page).code == 0
        checked = run(*given)
        assert checked.code == (0 if "longmem" in new else 1)
        return checked.out

    assert "retention: plans changed since" in told('"plans": "', '"plans": "0')
    assert "bm25 changed since the figures were made (options.k)" in told('"k": 4', '"k": 40')
    named = '"system": "nothing", "title"'
    said = told(named, named.replace("nothing", "longmem"))
    assert "longmem is not compared" in said
    assert "as far as they were compared" in said
    told('"k": 4', '"k": 40')
    page.write_text(page.read_text().replace("BM25", "BM26"))
    assert "does not match the figures beside it" in run(*given).out


def test_an_unknown_benchmark_is_told_which_there_are(run: Run) -> None:
    refused = run("bench", "nosuch")
    assert refused.code == 2
    assert "retention, recognition, perplexity" in refused.err
    error = run("bench", "nosuch", "--json").data["error"]
    assert (error["type"], error["exit_code"]) == ("ConfigError", 2)
    assert "retention, recognition, perplexity" in error["message"]


def test_the_command_of_figures_names_all_that_they_depend_on() -> None:
    plain = Given("sort", None, {"items": 2, "set": ["a=1", "b=2"]}, True, SMOLLM2, None, None)
    words = "memplus bench sort --items 2 --set a=1 --set b=2 --small --dtype float32 --data DATA"
    assert made_by(plain, SHARED).command == words
    other = replace(plain, model="nano", device="cpu", texts=[Path("/home/me/book.txt")])
    assert made_by(other, SHARED).command == f"{words} --model nano --device cpu --texts TEXTS"


@pytest.mark.long
def test_a_later_run_is_put_on_a_page(run: Run, tmp_path: Path, tiny: Path, book: Path) -> None:
    given = ("bench", "retention", "--model", tiny, "--texts", book, *GIVEN)
    page = tmp_path / "page.md"
    for system in ("nothing", "bm25:k=1"):
        out = tmp_path / system
        assert run(*given, "--system", system, "--out", out).code == 0
        assert run("bench", "page", page, out).code == 0
    assert run("bench", "page", page, "--json").data["benchmarks"] == {
        "retention": ["nothing", "bm25:k=1"]
    }
    text = page.read_text()
    wanted = "--lengths 0 --items 1 --set kinds=notes --set seeds=1 --dtype float32 --data DATA"
    wanted += " --model MODEL --texts TEXTS"
    for system in ("nothing", "bm25:k=1"):
        assert f"    memplus bench retention --system {system} {wanted}\n" in text
    assert run("bench", "check", page, "--model", tiny, "--texts", book).code == 0
    assert (
        run("bench", "check", page.with_suffix(".json"), "--model", tiny, "--texts", book).code == 0
    )
    assert run("bench", "plot", page.with_suffix(".json")).code == 0
    assert (tmp_path / "plot.png").is_file()
    refused = run("bench", "page", page, tmp_path)
    assert refused.code == 2
    assert "summary.json" in refused.err


def test_what_is_there_and_what_is_not_is_listed(run: Run, tmp_path: Path) -> None:
    listed = run("bench", "list", "--data", tmp_path, "--json").data
    assert "mplus" in [one["name"] for one in listed["systems"]]
    squad = [one for one in listed["tasks"] if one["name"] == "retention"]
    assert "lengths" in squad[0]["options"]
    locomo = next(one["needs"] for one in listed["tasks"] if one["name"] == "locomo")
    assert [(Path(one["path"]).name, one["required"], one["there"]) for one in locomo] == [
        ("locomo10.json.gz", True, False), ("known_errors.json.gz", False, False),
    ]  # fmt: skip
    assert "Systems" in run("bench", "list").out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--system", "mplus,papyrus"), "system cannot be 'papyrus'"),
        (("--system", "mplus:k=3"), "there is no such option"),
        (("--set", "colour=red"), "retention:colour cannot be 'red'"),
        (("--set", "kinds=poems"), "retention:kinds"),
        (("--lengths", "far"), "lengths"),
        (("--set", "kinds=squad"), "kinds is given twice"),
    ],
)
def test_bad_input_says_what_there_is(
    run: Run, tmp_path: Path, tiny: Path, book: Path, flags: tuple[str, str], said: str
) -> None:
    ran = run(
        "bench", "retention", "--model", tiny, "--texts", book, "--out", tmp_path / "o",
        "--data", tmp_path, *GIVEN, *flags,
    )  # fmt: skip
    assert ran.code == 2
    assert said in ran.err


def test_a_missing_question_set_is_named_with_its_licence(
    run: Run, tmp_path: Path, tiny: Path, book: Path
) -> None:
    given = ("bench", "retention", "--model", tiny, "--texts", book, "--out", tmp_path / "o")
    ran = run(*given, "--data", tmp_path)
    assert ran.code == 2
    assert "SQuAD 2.0, its dev set (licence: CC BY-SA 4.0)" in ran.err


def test_several_benchmarks_are_put_into_one_comparison(
    run: Run, tmp_path: Path, tiny: Path, book: Path
) -> None:
    (tmp_path / "comparison.md").write_text("# Mine")
    kept = run("bench", "all", "--tasks", "retention", "--model", tiny, "--out", tmp_path)
    assert (kept.code, "move it away" in kept.err) == (2, True)
    refused = run("bench", "all", "--tasks", "recall", "--model", tiny, "--out", tmp_path)
    assert "task cannot be 'recall'" in refused.err


def test_a_benchmark_that_the_texts_do_not_suffice_for_is_left_out_of_all(
    run: Run, tmp_path: Path, tiny: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--model", tiny, "--texts", book, "--system", "nothing", "--small", "--data", tmp_path)
    for tasks in (["perplexity"], ["perplexity", "conflicts"]):
        monkeypatch.setattr("memplus.cli.bench.TASKS", tasks)
        ran = run("bench", "all", *given, "--out", tmp_path / f"all {len(tasks)}")
        assert ran.code == (2 if len(tasks) == 1 else 0), ran.err
        assert "perplexity is left out: seeds cannot be 2" in " ".join(ran.err.split())
    assert "## conflicts" in (tmp_path / "all 2" / "comparison.md").read_text()
    named = run("bench", "all", "--tasks", "perplexity", *given, "--out", tmp_path / "named")
    assert named.code == 2


@pytest.mark.long
def test_a_failed_answer_is_told_beside_the_one_document(
    run: Run, tmp_path: Path, tiny: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: object, **options: object) -> None:
        raise RuntimeError("no more room")

    monkeypatch.setattr(NothingSession, "ask", failing)
    given = ("--model", tiny, "--texts", book, "--system", "nothing", "--json")
    ran = run("bench", "retention", *given, *GIVEN, "--out", tmp_path / "one")
    assert (ran.code, ran.data["task"]) == (1, "retention")
    assert "no more room" in ran.err
    task = make_task(
        "retention", {"kinds": "notes", "seeds": "1"}, small=False, items=1, lengths=(0,)
    )
    monkeypatch.setattr(type(task), "small", lambda: task)
    ran = run("bench", "all", "--tasks", "retention", "--small", *given, "--out", tmp_path / "all")
    assert (ran.code, len(ran.data["benchmarks"])) == (1, 1)
    assert "## retention" in (tmp_path / "all" / "retention" / "table.md").read_text()
    assert "no more room" in ran.err
