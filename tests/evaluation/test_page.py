"""The page that compares systems, and the figures beside it."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.test_benchmark_tables import FOUND

from memplus.errors import ConfigError, NotFoundError, RunMismatchError
from memplus.evaluation.benchmark import Benchmark
from memplus.evaluation.made import Made
from memplus.evaluation.page import (
    figures_file,
    page,
    put_on_page,
    read_benchmarks,
    require_page,
    stands_on,
)

MADE = Made("memplus bench all --small", "float32", 1, "The machine did other work beside it.")
LATER = Made("memplus bench retention --system SCM", "bfloat16", 2, date="2031-01-02")


def by(made: Made, found: Benchmark = FOUND) -> Benchmark:
    return replace(found, results=tuple(replace(one, made=made) for one in found.results))


def test_it_says_how_it_was_made_and_begins_with_one_figure_of_each_benchmark() -> None:
    text = page([by(MADE)])
    assert re.search(r"Made on \d{4}-\d\d-\d\d with nano in float32, 1 thread of ", text)
    assert "    memplus bench all --small\n\nThe machine did other work beside it.\n" in text
    assert "| M+ | 40 (30-50) |" in text
    assert "| SCM | cannot be asked |" in text
    assert "Questions: retention 10;" in text
    assert text.index("40 (30-50)") < text.index("## retention")
    assert re.findall(r"^## (\w+)", text, flags=re.MULTILINE) == ["retention"]


def test_a_system_that_runs_again_takes_its_old_place_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    first = put_on_page(path, [by(MADE)])
    assert put_on_page(path, []) == first
    path.write_text(path.read_text() + "\n## Programs of others\n\nA table.\n")
    again, rest = FOUND.results[0], FOUND.results[1:]
    changed = replace(again, errors=3, made=LATER)
    new = replace(again, system="own", title="Own", made=MADE)
    (found,) = put_on_page(path, [replace(FOUND, results=(new, changed))])
    assert [one.system for one in found.results] == [
        again.system, *(one.system for one in rest), "own",
    ]  # fmt: skip
    assert found.results[0].errors == 3
    text = path.read_text()
    assert text.endswith("\n## Programs of others\n\nA table.\n")
    assert text.count("## Programs of others") == 1
    said = f"retention of {again.title}: made on 2031-01-02 with nano in bfloat16, 2 threads of "
    assert said in text
    assert text.index(f"    {MADE.command}") < text.index(f"    {LATER.command}")
    assert read_benchmarks(figures_file(path)) == [found]


def test_neither_an_older_row_nor_one_that_failed_takes_the_place_of_another(
    tmp_path: Path,
) -> None:
    path = tmp_path / "page.md"
    (before,) = put_on_page(path, [by(LATER)])
    old = replace(FOUND.results[0], errors=9, made=replace(MADE, date="2030-12-31"))
    failed = replace(FOUND.results[1], figures=(), headline=None, errors=4, made=LATER)
    (after,) = put_on_page(path, [replace(FOUND, results=(old, failed))])
    assert after.results == before.results
    unable = replace(FOUND.results[1], figures=(), headline=None, unable="no", made=LATER)
    (after,) = put_on_page(path, [replace(FOUND, results=(unable,))])
    assert after.results[1] == unable


def test_those_that_put_something_on_one_page_at_once_leave_nothing_of_others_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "page.md"
    tasks = [f"task{number}" for number in range(12)]
    with ThreadPoolExecutor(len(tasks)) as threads:
        put = [threads.submit(put_on_page, path, [replace(FOUND, task=task)]) for task in tasks]
        assert max(len(one.result()) for one in put) == len(tasks)
    assert sorted(one.task for one in read_benchmarks(figures_file(path))) == sorted(tasks)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["page.json", "page.md"]


def test_a_page_that_somebody_wrote_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# My notes\n")
    with pytest.raises(ConfigError, match=r"README\.md.*not the mark.*move it away"):
        put_on_page(path, [FOUND])
    assert path.read_text() == "# My notes\n"
    assert not figures_file(path).exists()


def test_what_can_be_no_page_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes(b"\xe9" * 20)
    for name, said in (
        ("figures.json", "a file such as"),
        ("", "a file such as"),
        ("latin.md", "UTF-8"),
    ):
        for refused in (require_page, lambda path: put_on_page(path, [FOUND])):
            with pytest.raises(ConfigError, match=said):
                refused(tmp_path / name)
    assert [one.name for one in tmp_path.iterdir()] == ["latin.md"]
    require_page(tmp_path / "new.md")
    with pytest.raises(ConfigError, match="no figures for it yet"):
        put_on_page(tmp_path / "new.md", [])
    assert not (tmp_path / "new.md").exists()


def test_a_page_that_was_changed_by_hand_is_known(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    found = put_on_page(path, [FOUND])
    path.write_text(path.read_text() + "\n## Programs of others\n")
    assert stands_on(path, found)
    path.write_text(path.read_text().replace("40 (30-50)", "50 (40-60)"))
    assert not stands_on(path, found)


def test_commands_that_differ_in_the_benchmark_alone_stand_together() -> None:
    tasks = "retention", "sort"
    made = [replace(MADE, command=f"memplus bench {task} --system SCM --small") for task in tasks]
    text = page([by(one, replace(FOUND, task=task)) for task, one in zip(tasks, made, strict=True)])
    loop = "for TASK in retention sort; do memplus bench $TASK --system SCM --small; done"
    assert f", by\n\n    {loop}\n\n{MADE.remark}\n\nOne figure" in text
    assert text.count(MADE.remark) == 1


def test_another_benchmark_stands_below(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    put_on_page(path, [by(MADE)])
    put_on_page(path, [by(LATER, replace(FOUND, task="sort"))])
    assert re.findall(r"^## (\w+)", path.read_text(), flags=re.MULTILINE) == ["retention", "sort"]
    assert "| system | retention: right | sort: right |" in path.read_text()


def test_another_size_is_named_by_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    small, far = (
        replace(FOUND, run={"options": {"items": 8, "lengths": lengths}, "plans": str(lengths)})
        for lengths in ((0,), (0, 16000))
    )
    put_on_page(path, [small])
    assert len(put_on_page(path, [far])) == 2
    text = path.read_text()
    assert "\n## retention: " in text
    assert "\n## retention (lengths 0, 16000): " in text
    assert "| system | retention: right | retention (lengths 0, 16000): right |" in text
    assert "Questions: retention 10, retention (lengths 0, 16000) 10;" in text


def test_figures_of_other_questions_are_not_put_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    put_on_page(path, [FOUND])
    before = path.read_bytes(), figures_file(path).read_bytes()
    other = replace(FOUND, run={**FOUND.run, "plans": "other"}, results=FOUND.results[:1])
    with pytest.raises(RunMismatchError, match=r"\(retention\).*plans differ"):
        put_on_page(path, [other])
    assert (path.read_bytes(), figures_file(path).read_bytes()) == before
    whole = replace(other, results=FOUND.results)
    assert put_on_page(path, [whole]) == [whole]


def test_figures_of_other_weights_of_that_name_are_refused(tmp_path: Path) -> None:
    def shared(weights: str, dtype: str) -> Benchmark:
        run = {**FOUND.run, "backbone": {dtype: weights}}
        return replace(FOUND, results=FOUND.results[:1], run=run)

    path = tmp_path / "page.md"
    put_on_page(path, [FOUND])
    put_on_page(path, [replace(shared("a", "float32"), results=FOUND.results)])
    with pytest.raises(RunMismatchError, match="backbone"):
        put_on_page(path, [shared("b", "float32")])
    # Their digest takes in the dtype; the page says which rows are in which.
    put_on_page(path, [shared("c", "bfloat16")])
    put_on_page(path, [FOUND])
    for wrong in (shared("b", "float32"), shared("d", "bfloat16")):
        with pytest.raises(RunMismatchError, match="backbone"):
            put_on_page(path, [wrong])


def test_an_older_run_of_other_questions_takes_no_page_over(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    put_on_page(path, [by(LATER)])
    older = by(replace(MADE, date="2030-12-31"))
    with pytest.raises(RunMismatchError, match="plans"):
        put_on_page(path, [replace(older, run={**older.run, "plans": "1"})])


def test_figures_of_another_model_stand_on_another_page(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    put_on_page(path, [FOUND])
    before = path.read_bytes(), figures_file(path).read_bytes()
    other = replace(FOUND, task="sort", model="smollm2")
    with pytest.raises(RunMismatchError, match=r"page\.json .*model \(nano, smollm2\) differ"):
        put_on_page(path, [other])
    with pytest.raises(RunMismatchError, match=r"model \(nano, smollm2\)"):
        require_page(path, "smollm2")
    assert (path.read_bytes(), figures_file(path).read_bytes()) == before
    require_page(path, "nano")
    require_page(tmp_path / "new.md", "smollm2")


def test_figures_are_read_from_a_run_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(by(MADE).to_dict()))
    (found,) = read_benchmarks(tmp_path)
    assert found.results == by(MADE).results


@pytest.mark.parametrize("text", ["{", "[]x", "[]", '{"task": "retention"}', "[3]"])
def test_what_holds_no_figures_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / "page.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="no figures of"):
        put_on_page(tmp_path / "page.md", [FOUND])
    assert file.read_text() == text
    with pytest.raises(NotFoundError):
        read_benchmarks(tmp_path)
