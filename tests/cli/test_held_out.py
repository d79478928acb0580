"""Held-out items as flags name them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplus.cli.held_out import held_out_pool
from memplus.errors import NotFoundError


def test_statements_are_always_there_and_a_set_where_its_file_is_named(tmp_path: Path) -> None:
    alone = held_out_pool(None, None, (0,), ())
    kinds = {item.kind for item in alone.items}
    line = {"question": "Who?", "answers": ["Ann"], "ctxs": [{"title": "A", "text": "Ann did."}]}
    file = tmp_path / "nq.jsonl"
    file.write_text(json.dumps(line) + "\n")
    both = held_out_pool(None, file, (0,), ())
    assert {item.kind for item in both.items} == kinds | {"NQ"}
    assert len(both.items) > len(alone.items)


def test_corrections_come_with_distances_of_their_own() -> None:
    without = held_out_pool(None, None, (0,), ())
    corrected = held_out_pool(None, None, (0,), (1000,))
    assert len(corrected.items) > len(without.items)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="none"):
        held_out_pool(tmp_path / "none.json", None, (0,), ())
