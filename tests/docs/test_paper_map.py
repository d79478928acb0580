"""docs/paper-map.md names files, symbols and lines of code; here they are looked up."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "paper-map.md"
# | words | [`src/memplus/a.py`](../src/memplus/a.py) `Symbol.part` | `a line of code` |
ROW = re.compile(r"\[`([^`]+)`\]\(\.\./([^)]+)\) `([^`]+)` \|(?: `(.+)` \|)?$")
ROWS = [match for line in PAGE.read_text().splitlines() if (match := ROW.search(line))]


def source_of(path: str, symbol: str) -> str | None:
    """The source text of a dotted name in a file, None where it is not defined there."""
    text = (ROOT / path).read_text()
    body: list[ast.stmt] = ast.parse(text).body
    found = ""
    for part in symbol.split("."):
        matches = [node for node in body if part in names_bound_by(node)]
        if not matches:
            return None
        found = ast.get_source_segment(text, matches[0]) or ""
        body = getattr(matches[0], "body", [])
    return found


def names_bound_by(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign):
        return {ast.unparse(node.target)}
    if isinstance(node, ast.Assign):
        return {ast.unparse(target) for target in node.targets}
    return set()


def squeezed(code: str) -> str:
    return "".join(code.split())


def test_the_page_has_rows_and_the_tables_have_no_others() -> None:
    tables = [line for line in PAGE.read_text().splitlines() if "](../src/" in line]
    assert len(ROWS) == len(tables) >= 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[2]}:{row[3]}")
def test_each_named_symbol_and_line_is_there(row: re.Match[str]) -> None:
    shown, linked, symbol, line = row.groups()
    assert shown == linked
    code = source_of(linked, symbol)
    assert code is not None, f"{linked} defines no {symbol}"
    if line is not None:
        assert squeezed(line) in squeezed(code)
