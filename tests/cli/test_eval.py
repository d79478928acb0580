"""``memplus eval`` as a user runs it, on a tiny model."""

import gzip
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

TEXT = "The gate is red. It rained. Nobody came. " * 40


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    return path


@pytest.mark.long
def test_retention_fills_a_folder_and_prints_what_it_found(
    run: Run, tmp_path: Path, tiny: Path, text: Path
) -> None:
    given = ("eval", "retention", text, "--model", tiny, "--notes", 1, "--seeds", 1)
    given += ("--distances", "0,0.1k", "--out", tmp_path / "out")
    ran = run(*given, "--json")
    assert ran.code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert ran.data["cells"] == summary["cells"]
    shown = run(*given)
    assert shown.code == 0
    assert "MemoryLLM" in shown.out
    assert "no memory: 0.0% of 1 right" in shown.out
    assert ("read them" in shown.out) == (summary["text_read"] > 1)
    refused = run(*given, "--notes", 2)
    assert refused.code == 2
    assert "another run: notes" in refused.err


@pytest.mark.long
def test_notes_in_other_layouts(run: Run, tmp_path: Path, tiny: Path, text: Path) -> None:
    out = tmp_path / "out"
    ran = run(
        "eval", "notes", text, "--model", tiny, "--notes", 1, "--distances", "0", "--out", out,
        "--json",
    )  # fmt: skip
    assert {cell["kind"] for cell in ran.data["cells"]} > {"paragraph", "corrected"}


@pytest.mark.long
def test_notes_about_people_with_other_names(
    run: Run, tmp_path: Path, tiny: Path, text: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Odile Quillfeather\nKofi Lindqvist\n")
    given = ("eval", "notes", text, "--model", tiny, "--notes", 1, "--distances", "0")
    ran = run(*given, "--names", names, "--out", tmp_path / "a", "--json")
    assert {cell["kind"] for cell in ran.data["cells"]} == {"alone", "outside name"}
    ran = run(*given, "--names", "bundled", "--same-attribute", "--out", tmp_path / "b", "--json")
    assert {cell["kind"] for cell in ran.data["cells"]} > {"outside name", "one attribute"}
    refused = run(*given, "--names", names, "--same-attribute", "--out", tmp_path / "a")
    assert refused.code == 2
    assert "another run" in refused.err
    assert run(*given, "--names", tmp_path / "absent", "--out", tmp_path / "c").code == 2


@pytest.mark.long
def test_statements_are_counted_as_right_declined_and_wrong(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    told = tmp_path / "told.jsonl"
    told.write_text('{"statement": "It is red.", "question": "What is it?", "answers": ["red"]}\n')
    given = ("eval", "statements", "--file", told, "--model", tiny, "--system", "mplus")
    ran = run(*given, "--min-confidence", 1, "--out", tmp_path / "out", "--json")
    (cell,) = ran.data["cells"]
    assert (cell["asked"], cell["right"], cell["declined"]) == (1, 0, 1)
    shown = run(*given, "--min-confidence", 1, "--out", tmp_path / "out").out
    assert all(word in shown for word in ("right", "declined", "wrong", "answers.jsonl"))
    assert run(*given, "--min-confidence", 2).code == 2


@pytest.mark.long
def test_perplexity(run: Run, tiny: Path, text: Path) -> None:
    given = ("eval", "perplexity", text, "--model", tiny, "--tokens", "100", "--windows", 2)
    ran = run(*given, "--length", 8, "--json")
    assert ran.data["predicted"] >= 14
    assert ran.data["over_last"]["bare"] == [1, 1, 1]
    assert "over bare model" in run(*given, "--length", 8).out


@pytest.fixture
def nq(tmp_path: Path) -> Path:
    path = tmp_path / "nq.jsonl"
    lines = [
        {
            "question": f"what is {i}",
            "answers": [str(i)],
            "ctxs": [{"title": f"T{i}", "text": f"It {i}."}],
        }
        for i in range(40)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


@pytest.mark.long
def test_passages_of_a_question_set_are_told_in_one_stream(
    run: Run, tmp_path: Path, tiny: Path, text: Path, nq: Path
) -> None:
    given = ("eval", "retention", text, "--questions", nq, "--model", tiny, "--notes", 2)
    given += ("--seeds", 1, "--distances", "0,20")
    ran = run(*given, "--out", tmp_path / "out", "--json")
    asked = {(cell["kind"], cell["system"], cell["wanted"]) for cell in ran.data["cells"]}
    assert {("question", "mplus", 20), ("never told", "memoryllm", 0)} < asked
    lines = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()[1:]
    held_out = {f"what is {i}" for i in range(0, 40, 5)}
    assert {json.loads(line)["question"] for line in lines if "question" in line} <= held_out
    assert "question" in run(*given, "--out", tmp_path / "out").out
    refused = run(*given, "--split", "train", "--out", tmp_path / "out")
    assert "another run: held_out" in refused.err


@pytest.mark.long
def test_a_question_set_by_the_papers_protocol(
    run: Run, tmp_path: Path, tiny: Path, nq: Path
) -> None:
    given = ("eval", "retention", "--questions", nq, "--paper-protocol", "--model", tiny)
    given += ("--notes", 2, "--seeds", 1, "--distances", "0,20", "--out", tmp_path / "out")
    ran = run(*given, "--json")
    assert [cell["asked"] for cell in ran.data["cells"]] == [2] * 5
    shown = run(*given)
    assert "no memory: " in shown.out


@pytest.mark.long
def test_the_columns_are_the_systems_that_were_asked_for(
    run: Run, tmp_path: Path, tiny: Path, text: Path
) -> None:
    given = ("eval", "retention", text, "--model", tiny, "--notes", 1, "--seeds", 1)
    given += ("--distances", "0", "--system", "memoryllm,bare", "--out", tmp_path / "out")
    ran = run(*given, "--json")
    assert ran.data["systems"] == {"memoryllm": "MemoryLLM", "bare": "bare model"}
    assert {cell["system"] for cell in ran.data["cells"]} == {"memoryllm", "bare"}
    shown = run(*given).out
    assert "MemoryLLM %" in shown
    assert "M+" not in shown
    assert "bare model: " in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("retention", "--distances", "far"), 2, "distances cannot be 'far'"),
        (("retention", "--notes", "5000"), 2, "notes cannot be 5000"),
        (("retention", "absent.txt"), 2, "no file absent.txt"),
        (("retention", "--questions", "absent.json"), 2, "no file absent.json"),
        (("retention", "--paper-protocol"), 2, "needs --questions"),
        (("perplexity", "--tokens", "1k,2k"), 2, "tokens cannot be"),
        (("perplexity", "--model", "absent"), 2, "no model named 'absent'"),
        (("notes", "--seeds", "0"), 2, "seeds"),
        (("retention", "--system", "mplus,other"), 2, "system cannot be 'other': there are mplus"),
        (("confidence", "--system", "nothing", "--notes", "1", "--distances", "0"), 2, "how sure"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...],
    code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    ran = run("eval", *arguments)
    assert ran.code == code
    assert said in ran.err
    assert list(tmp_path.iterdir()) == []
