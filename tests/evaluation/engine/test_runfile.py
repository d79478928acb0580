import json
from pathlib import Path

import pytest

from memplus.errors import DamagedRunError, NotFoundError, RunMismatchError, UsageError
from memplus.evaluation.engine.runfile import RunFile, alone_in

IDENTITY = {"model": "abc", "distances": (0, 5), "notes": 3, "own": {"k": 4, "in": {"size": 1}}}


def test_lines_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    run = RunFile(path, IDENTITY)
    run.append({"said": "one\ntwo \u2028 ü"})
    run.append({"said": ""})
    assert (
        RunFile(path, IDENTITY).lines == run.lines == [{"said": "one\ntwo \u2028 ü"}, {"said": ""}]
    )
    first = json.loads(path.read_text().split("\n")[0])
    assert first == {"format": 1, **IDENTITY, "distances": [0, 5]}


def test_what_stands_beside_every_line_is_no_part_of_what_the_run_is(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    RunFile(path, IDENTITY).append({"said": "one"})
    RunFile(path, IDENTITY, {"device": "CPU"}).append({"said": "two"})
    run = RunFile(path, IDENTITY, {"device": "NVIDIA H200"})
    run.append({"said": "three"})
    wanted = [
        {"said": "one"},
        {"said": "two", "device": "CPU"},
        {"said": "three", "device": "NVIDIA H200"},
    ]
    assert run.lines == RunFile(path, IDENTITY).lines == wanted


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_line_that_was_cut_off_is_taken_away(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.jsonl"
    run = RunFile(path, IDENTITY)
    run.append({"said": "one"})
    whole = path.read_bytes()
    run.append({"said": "two"})
    path.write_bytes(path.read_bytes()[:-cut])
    assert RunFile(path, IDENTITY).lines == [{"said": "one"}]
    assert path.read_bytes() == whole


def test_a_first_line_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"format": 1, "mod')
    assert RunFile(path, IDENTITY).lines == []
    assert json.loads(path.read_text())["model"] == "abc"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "abd"}, "model"),
        ({"notes": 4, "distances": [0]}, "distances, notes"),
        ({"own": {"k": 5, "in": {"size": 1, "new": 0}}}, r"own\.in\.new, own\.k"),
        ({"own": None}, "own"),
    ],
)
def test_another_run_is_refused_by_what_differs(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    path = tmp_path / "a.jsonl"
    RunFile(path, IDENTITY).append({"said": "one"})
    before = path.read_bytes()
    with pytest.raises(RunMismatchError, match=f"another run: {named} differ"):
        RunFile(path, IDENTITY | change)
    assert path.read_bytes() == before


def test_what_failed_is_replaced_in_its_place_and_nothing_in_the_file_is_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    file = RunFile(path, IDENTITY, {"device": "CPU"})
    for key, found in (("a", {"said": "1"}), ("b", {"error": "x"}), ("c", {"said": "三"})):
        file.append({"plan": "p", "key": key, **found})
    before = path.read_bytes()
    file.replace(1, {"plan": "p", "key": "b", "error": "y"})
    file.replace(1, {"plan": "p", "key": "b", "said": "2"})
    file.append({"plan": "p", "key": "d", "said": "4"})
    assert path.read_bytes().startswith(before)
    again = RunFile(path, IDENTITY)
    assert again.lines == file.lines
    assert [one["said"] for one in again.lines] == ["1", "2", "三", "4"]
    assert again.lines[1]["device"] == "CPU"
    assert [again.number(at) for at in range(4)] == [2, 6, 4, 7]
    assert [file.number(at) for at in range(4)] == [2, 6, 4, 7]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    RunFile(path, IDENTITY).append({"said": "one"})
    path.write_text(path.read_text() + "{broken\n" + "{}\n")
    with pytest.raises(DamagedRunError, match="line 3"):
        RunFile(path, IDENTITY)


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFoundError, match=r"no folder .*file"):
        RunFile(tmp_path / "file" / "a.jsonl", IDENTITY)


@pytest.mark.parametrize("line", ["[]", '[["said", "one"]]', "3", '"one"', "null"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    RunFile(path, IDENTITY).append({"said": "one"})
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DamagedRunError, match="line 3"):
        RunFile(path, IDENTITY)


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "mplus"
    with alone_in(folder):
        with (
            pytest.raises(UsageError, match=r"running into .*mplus\. Wait for it"),
            alone_in(folder),
        ):
            pass
        with alone_in(folder.parent / "other"):
            pass
    with alone_in(folder):
        pass
    assert list(folder.iterdir()) == []
