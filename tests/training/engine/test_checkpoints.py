from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplus.errors import ConfigError, NotARunError, StorageError, TrainingError
from memplus.training.engine import checkpoints
from memplus.training.engine.checkpoints import Checkpoints, require_begun


def writer(text: str):  # type: ignore[no-untyped-def]
    return lambda folder: (folder / "file").write_text(text)


def test_the_last_few_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 100):
        kept.save(step, {"here": step}, writer(f"at {step}"))
    assert [path.name for path in kept.paths()] == ["00000010", "00000100"]
    folder, state = kept.latest()
    assert (folder / "file").read_text() == "at 100"
    assert (state["step"], state["here"]) == (100, 100)
    kept.save(100, {"here": 7}, writer("again"))
    assert kept.latest()[1]["here"] == 7


def test_what_a_kill_leaves_is_no_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, {}, writer("one"))

    def killed(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.save(2, {}, killed)
    assert kept.latest()[1]["step"] == 1
    (kept.folder / "00000003").mkdir()  # renamed by hand, without its state
    assert kept.latest()[1]["step"] == 1
    kept.save(4, {}, writer("four"))
    assert [path.name for path in kept.folder.glob(".*")] == []


def test_a_disk_that_refuses_leaves_the_older_ones(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, {}, writer("one"))

    def refused(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        kept.save(2, {}, refused)
    assert kept.latest()[1]["step"] == 1


def test_none_and_one_of_another_format_are_named(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    with pytest.raises(NotARunError, match="no checkpoint"):
        kept.latest()
    kept.save(1, {}, writer("one"))
    (kept.folder / "00000001" / "state.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(TrainingError, match="format 9"):
        kept.latest()


def test_only_the_first_process_makes_folders_and_all_wait(tmp_path: Path) -> None:
    waits: list[str] = []
    first = Checkpoints(tmp_path, wait=lambda: waits.append("first"))

    def both(folder: Path) -> None:
        (folder / "process-0").write_text("")
        other = Checkpoints(tmp_path, first=False, wait=lambda: waits.append("other"))
        other.save(1, {}, lambda folder: None)
        assert not (other.folder / "00000001").exists()

    first.save(1, {}, both)
    assert waits == ["first", *["other"] * 3, "first", "first"]
    assert first.latest()[1]["step"] == 1


@pytest.mark.parametrize("after", range(11))
def test_a_save_that_ends_anywhere_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Every call that touches the disk in turn is the last one that is reached."""
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(1, {}, writer("one"))
    calls = 0

    def reached(function):  # type: ignore[no-untyped-def]
        def counted(*given: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls > after:
                raise KeyboardInterrupt
            return function(*given, **named)

        return counted

    with monkeypatch.context() as patched:
        for name in ("mkdir", "write_text", "rename"):
            patched.setattr(Path, name, reached(getattr(Path, name)))
        patched.setattr(checkpoints, "_flush", reached(checkpoints._flush))
        patched.setattr(checkpoints.shutil, "rmtree", reached(checkpoints.shutil.rmtree))
        try:
            kept.save(2, {}, writer("two"))
        except KeyboardInterrupt:
            ended = True
        else:
            ended = False
    folder, state = kept.latest()
    assert (folder / "file").read_text() == {1: "one", 2: "two"}[state["step"]]
    if not ended:
        assert (state["step"], calls) == (2, 10)
    kept.save(3, {}, writer("three"))
    assert [path.name for path in kept.folder.iterdir()] == ["00000003"]


def test_a_run_is_begun_where_there_is_none_and_resumed_where_there_is_one(tmp_path: Path) -> None:
    require_begun(tmp_path, resume=False)
    (tmp_path / "checkpoints" / ".00000001").mkdir(parents=True)  # killed while saving its first
    require_begun(tmp_path, resume=False)
    with pytest.raises(NotARunError):
        require_begun(tmp_path, resume=True)
    Checkpoints(tmp_path).save(1, {}, writer("one"))
    require_begun(tmp_path, resume=True)
    with pytest.raises(ConfigError, match="--resume"):
        require_begun(tmp_path, resume=False)
    (tmp_path / "a file").write_text("")
    with pytest.raises(ConfigError, match="not a folder"):
        require_begun(tmp_path / "a file", resume=False)
