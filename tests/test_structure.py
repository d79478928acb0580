"""The shape that the code keeps: a test beside every module, short files, short classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src" / "memplus", ROOT / "tests"

LONGEST_FILE, LONGEST_CLASS, LONGEST_FUNCTION = 450, 300, 80

WITHOUT_A_TEST_OF_ITS_OWN = {
    "backbone/stock_types.py": "names of types, nothing that runs",
    "errors/bundles.py": "errors/test_errors.py makes every error of the tree",
    "errors/data.py": "errors/test_errors.py makes every error of the tree",
    "errors/memory.py": "errors/test_errors.py makes every error of the tree",
    "errors/model.py": "errors/test_errors.py makes every error of the tree",
    "errors/runs.py": "errors/test_errors.py makes every error of the tree",
    "errors/server.py": "errors/test_errors.py makes every error of the tree",
    "errors/store.py": "errors/test_errors.py makes every error of the tree",
    "memory/records.py": "values without behaviour",
    "store/limits.py": "numbers without behaviour",
}
"""Modules without a mirrored test, and why."""

MODULES = sorted(
    path.relative_to(SOURCE)
    for path in SOURCE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


def mirror(module: Path) -> Path:
    return TESTS / module.parent / f"test_{module.name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_test(module: Path) -> None:
    excused = module.as_posix() in WITHOUT_A_TEST_OF_ITS_OWN
    assert mirror(module).is_file() != excused


def definitions(module: Path) -> Iterator[tuple[str, int, bool]]:
    """Name, lines and whether it is a class, of everything that is defined."""
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            yield node.name, length, isinstance(node, ast.ClassDef)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_classes_and_functions_stay_short(module: Path) -> None:
    assert len((SOURCE / module).read_text().splitlines()) <= LONGEST_FILE
    for name, length, is_class in definitions(module):
        assert length < (LONGEST_CLASS if is_class else LONGEST_FUNCTION), name
