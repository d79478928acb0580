import zipfile
from pathlib import Path

import pytest
from tests.data.babi_archive import make_archive
from tests.data.booksort_folder import REAL

from memplus.data.babi import BabiQuestion, read_babi, read_indices
from memplus.errors import BenchmarkFileError, NotFoundError

ARCHIVE = REAL / "babi" / "babi_tasks_1-20_v1-2_en.zip"
INDICES = REAL / "babi" / "babilong_test_100_idxs.json"


def test_a_question_has_the_facts_told_before_it_and_no_question(tmp_path: Path) -> None:
    found = read_babi(make_archive(tmp_path / "a.zip"), 1)
    assert len(found) == 6
    told = ("Mary went to the kitchen.", "John moved to the office.")
    assert found[0] == BabiQuestion(told, "Where is Mary?", "kitchen", (0,))
    later = ("Mary journeyed to the bedroom.", "John went back to the kitchen.")
    assert found[1] == BabiQuestion(told + later, "Where is Mary?", "bedroom", (2,))
    assert found[2].facts[0] == "John went to the office.", "a story begins anew"


def test_task_1_is_not_task_10(tmp_path: Path) -> None:
    path = make_archive(tmp_path / "a.zip", range(10, 11))
    assert read_babi(path, 10)
    with pytest.raises(BenchmarkFileError, match="0 files of task 1, test"):
        read_babi(path, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Mary went home.", "line 1 has no number"),
        ("1 Where is Mary?\tgarden", "line 1 has 2 parts"),
        ("1 Where is Mary?\tgarden\t7", "line 1 follows from a fact that was not told"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str, reason: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("en/qa1_a_test.txt", line)
    with pytest.raises(BenchmarkFileError, match=reason):
        read_babi(tmp_path / "a.zip", 1)


def test_what_is_no_archive_or_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_babi(tmp_path / "a.zip", 1)
    (tmp_path / "a.zip").write_text("hello")
    with pytest.raises(BenchmarkFileError, match="not a zip file"):
        read_babi(tmp_path / "a.zip", 1)
    (tmp_path / "i.json").write_text('{"qa1": 3}')
    with pytest.raises(BenchmarkFileError, match="no table of indices"):
        read_indices(tmp_path / "i.json")


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the published data are not here")
def test_the_official_indices_name_questions_of_the_test_files() -> None:
    indices = read_indices(INDICES)
    assert {task: len(found) for task, found in indices.items()} == dict.fromkeys(range(1, 6), 100)
    for task, found in indices.items():
        assert max(found) < len(read_babi(ARCHIVE, task)) == 1000
    one = read_babi(ARCHIVE, 1)[indices[1][0]]
    assert one.facts == (
        "John travelled to the hallway.",
        "Mary journeyed to the bathroom.",
        "Daniel went back to the bathroom.",
        "John moved to the bedroom.",
    )
    assert (one.question, one.answer, one.supporting) == ("Where is Mary?", "bathroom", (1,))
