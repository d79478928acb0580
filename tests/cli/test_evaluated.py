from pathlib import Path

import pytest

from memplus.cli.evaluated import make_folder, open_bench, open_table_bench, read_texts
from memplus.errors import ConfigError, MemplusError


def test_the_usual_systems_stand_side_by_side(tiny: Path) -> None:
    bench = open_bench(None, str(tiny), device=None, dtype=None)
    assert [system.name for system in bench.systems] == ["mplus", "memoryllm", "nothing"]
    assert bench.reference(["abc"]) == [[1, 2, 3]]


def test_systems_are_named_with_commas_between(tiny: Path) -> None:
    bench = open_bench(" bare, mplus", str(tiny), device=None, dtype=None)
    assert [system.name for system in bench.systems] == ["bare", "mplus"]


def test_an_unknown_system_is_refused_before_a_model_is_loaded() -> None:
    with pytest.raises(ConfigError, match="system cannot be 'papyrus'"):
        open_bench("papyrus", "absent", device=None, dtype=None)


def test_a_folder_for_results_is_made_where_it_can_be(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == make_folder(folder) == folder
    assert folder.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(MemplusError):
        make_folder(tmp_path / "file" / "c")


def test_the_table_has_the_text_in_the_prompt_beside_the_usual_systems(tiny: Path) -> None:
    bench = open_table_bench(str(tiny), device=None, dtype=None)
    names = [system.name for system in bench.systems]
    assert names == ["full_context", "mplus", "memoryllm", "nothing"]


def test_texts_are_files_or_the_documentation_of_the_language(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.")
    (tmp_path / "b.jsonl").write_text('{"text": "Two."}\n{"text": "Three."}\n')
    assert read_texts([tmp_path / "a.txt", tmp_path / "b.jsonl"]) == ["One.", "Two.", "Three."]
    (documentation,) = read_texts(None)
    assert "statement" in documentation
