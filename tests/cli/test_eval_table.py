import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.data.question_sets import paragraph

TEXT = "The gate is red. It rained. Nobody came. " * 400


@pytest.mark.long
def test_one_command_fills_the_table_and_goes_on_where_it_was(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    book = tmp_path / "book.txt"
    book.write_text(TEXT)
    articles = [
        {"title": f"Title {n}", "paragraphs": [paragraph(f"It was {n}.", ("When?", [str(n)]))]}
        for n in range(60)
    ]
    squad = tmp_path / "dev.json"
    squad.write_text(json.dumps({"data": articles}))
    given = ("eval", "table", book, "--squad", squad, "--model", tiny, "--items", 1)
    given += ("--distances", "0,0.1k", "--corrected", "50", "--windows", 0)
    given += ("--out", tmp_path / "out")
    ran = run(*given, "--json")
    assert ran.code == 0, ran.err
    measures = {row["measure"] for row in ran.data["rows"]}
    assert {
        "SQuAD, alone, at once: contained",
        "SQuAD, after 100 tokens: token F1",
        "statement, after 0 tokens: contained",
        "correction, after 50 tokens: the older value",
        "never told: declined",
        "told: declined",
    } <= measures
    assert not any("NQ" in measure or "perplexity" in measure for measure in measures)
    shown = run(*given)
    assert "never told: declined" in shown.out
    assert "table.md" in shown.out
    assert (tmp_path / "out" / "table.md").is_file()
    refused = run(*given, "--items", 2)
    assert refused.code == 2
    assert "another run: items" in refused.err


def test_what_cannot_be_is_refused_before_a_model_is_loaded(run: Run, tmp_path: Path) -> None:
    out = ("--model", "absent", "--out", tmp_path / "out")
    assert "no file absent.json" in run("eval", "table", "--squad", "absent.json", *out).err
    assert "distances cannot be" in run("eval", "table", "--distances", "far", *out).err
    assert run("eval", "table", "--min-confidence", 2, *out).code == 2
    assert not (tmp_path / "out").exists()
