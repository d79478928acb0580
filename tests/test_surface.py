import subprocess
import sys

import pytest

import memplus

HEAVY = ("torch", "transformers", "peft", "matplotlib", "typer", "rich", "fastapi", "starlette")


@pytest.mark.parametrize("name", memplus.__all__)
def test_every_public_name_is_importable(name: str) -> None:
    assert getattr(memplus, name) is not None


def test_dir_shows_the_public_surface() -> None:
    assert dir(memplus) == sorted(memplus.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="long_term"):
        _ = memplus.long_term


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after ``statement``."""
    code = f"import sys; {statement}; print(*{{m.split('.')[0] for m in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import memplus").isdisjoint(HEAVY)


@pytest.mark.long
def test_facade_loads_no_plotting_and_no_web_stack() -> None:
    loaded = loaded_by("from memplus import MPlus")
    assert loaded.isdisjoint({"matplotlib", "fastapi", "starlette", "uvicorn", "typer"})
