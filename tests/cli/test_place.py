"""Where a memory is kept: what it is called, and what is refused."""

from pathlib import Path

import pytest

from memplus.cli.place import Creation, Place, existing_store, require_folder
from memplus.cli.standard import default_store
from memplus.errors import ConfigError, MemoryFileError, NotFoundError


def test_a_place_is_shown_as_people_name_it() -> None:
    assert str(Place(memory=Path("a.memory"))) == "a.memory"
    assert str(Place(store=Path("s"), id="alice")) == "alice in s"
    assert str(Place(store=default_store(), id="alice")) == "alice"


def test_a_store_that_is_not_there_is_not_found_and_another_folder_is_no_store(
    tmp_path: Path,
) -> None:
    with pytest.raises(NotFoundError, match="store of memories"):
        existing_store(tmp_path / "absent")
    with pytest.raises(MemoryFileError):
        existing_store(tmp_path)


def test_a_result_needs_its_folder(tmp_path: Path) -> None:
    require_folder(tmp_path / "picture.png")
    with pytest.raises(NotFoundError, match="folder"):
        require_folder(tmp_path / "absent" / "picture.png")


@pytest.mark.parametrize("values", [{"rows": "int3"}, {"durability": "never"}])
def test_values_that_a_memory_cannot_have_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        Creation(**values)  # type: ignore[arg-type]
