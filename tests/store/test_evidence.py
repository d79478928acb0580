"""Answers of a memory in a store quote what they stand on."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import make_mplus

from memplus.store import MemoryStore

TEXT = "The road went down to the sea. Nobody had walked there since the spring. " * 3


def test_evidence_quotes_the_text_of_its_write(tmp_path: Path) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path / "s")
    with store.create("alice", model) as memory:
        model.write(memory, TEXT, source="sea.txt", flush=True)
        answer = model.ask(memory, "Who walked there?")
    plain = model.new_memory()
    model.write(plain, TEXT, source="sea.txt", flush=True)
    without = model.ask(plain, "Who walked there?")
    assert answer.text == without.text
    assert [(e.write_id, e.share) for e in answer.evidence] == [
        (e.write_id, e.share) for e in without.evidence
    ]
    quoted = [one for one in answer.evidence if one.write_id]
    assert quoted
    for one in quoted:
        assert one.first_char is not None
        assert one.text
        assert one.text == TEXT[one.first_char : one.first_char + len(one.text)]
    assert all(one.text == "" and one.first_char is None for one in without.evidence)


def test_what_was_forgotten_is_not_quoted(tmp_path: Path) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path / "s")
    with store.create("alice", model) as memory:
        model.write(memory, TEXT, source="sea.txt", flush=True)
        model.write(memory, "Quite another text. " * 9, source="other.txt", flush=True)
        memory.forget(source="sea.txt")
        answer = model.ask(memory, "Who walked there?")
    assert answer.evidence
    assert not any(one.text and one.text in TEXT for one in answer.evidence)
    assert "sea.txt" not in {one.source for one in answer.evidence}
