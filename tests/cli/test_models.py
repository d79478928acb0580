"""``memplus models``: bundled, cached and known models, and removing cached ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.mplus.bundle_folders import known_base, ship
from tests.mplus.gguf_files import entry_for, write_gguf

from memplus.mplus.base_cache import CachedBase, pull, remove_base
from memplus.mplus.bases import known_bases
from memplus.mplus.bundled import bundled_models


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("MEMPLUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bases"


@pytest.fixture
def tiny(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> CachedBase:
    """A small model in the cache, known by its name."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    monkeypatch.setitem(known_bases(), "tiny", entry_for(path))
    return pull(known_bases()["tiny"], [path])


def test_each_bundled_model_is_listed_with_size_and_purpose(run: Run) -> None:
    listed = run("models", "--json").data["models"]
    assert [one["name"] for one in listed] == [one.name for one in bundled_models()]
    assert all(one["bytes"] > 1_000_000 and one["purpose"] for one in listed)
    shown = run("models").out
    assert "nano: 1.2 million weights, 3.6 MB, bundled, Apache-2.0" in shown
    assert all(len(line) < 100 for line in shown.splitlines())


def test_known_models_are_listed_with_what_fetching_them_costs(run: Run) -> None:
    listed = {one["name"]: one for one in run("models", "--json").data["bases"]}
    assert set(listed) == set(known_bases())
    for name, base in known_bases().items():
        assert listed[name]["path"] is None
        assert listed[name]["fetch_bytes"] == base.nbytes
        assert listed[name]["sha256"] == base.sha256
    shown = run("models").out
    assert "smollm2: 134.5 million weights, not fetched (98.4 MB)" in shown
    assert "qwen-1.5b: 1777.1 million weights, not fetched (1117.3 MB), Apache-2.0" in shown


def test_a_bundle_that_comes_with_a_base_model_is_listed_with_its_size(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path, monkeypatch)

    def listed() -> object:
        (one,) = (one for one in run("models", "--json").data["bases"] if one["name"] == "tiny")
        return one["bundle"]

    assert listed() is None
    assert "A base model, without a trained memory: for tests." in run("models").out
    folder = ship(tmp_path)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert listed() == {"path": str(folder), "bytes": size}
    shown = run("models").out
    assert f"MB in the cache, memory bundled ({size / 1e6:.1f} MB), Apache-2.0" in shown
    assert "A base model, with a trained memory: for tests." in shown
    remove_base("tiny")
    assert "tiny: 0.1 million weights, not fetched (0.1 MB), memory bundled" in run("models").out


def test_a_cached_model_is_listed_with_its_size_until_it_is_removed(
    run: Run, tiny: CachedBase, cache: Path
) -> None:
    def listed() -> tuple[object, object]:
        (one,) = (one for one in run("models", "--json").data["bases"] if one["name"] == "tiny")
        return one["path"], one["bytes"]

    assert listed() == (str(tiny.path), tiny.nbytes)
    assert "tiny: 0.1 million weights, 0.2 MB in the cache" in run("models").out
    removed = run("models", "remove", "tiny", "--json").data
    assert removed["removed"] == "tiny"
    assert removed["bytes"] >= tiny.nbytes
    assert listed() == (None, 0)
    assert list(cache.iterdir()) == []


def leave_unknown(folder: Path) -> None:
    folder.rename(folder.with_name("gone"))


def leave_of_another_file(folder: Path) -> None:
    amend(folder, f'"sha256": "{known_bases()["tiny"].sha256}"', '"sha256": "00"')


def leave_of_another_release(folder: Path) -> None:
    amend(folder, '"conversion": 1', '"conversion": 0')


def leave_less(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def leave_interrupted(folder: Path) -> None:
    folder.rename(folder.with_name(".tiny.partial"))


def amend(folder: Path, old: str, new: str) -> None:
    record = folder / "base.json"
    text = record.read_text()
    assert old in text
    record.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("leave", "name", "state"),
    [
        (leave_unknown, "gone", "unknown to this release of memplus"),
        (leave_of_another_file, "tiny", "made from another file"),
        (leave_of_another_release, "tiny", "made by another release of memplus"),
        (leave_less, "tiny", "no whole model"),
        (leave_interrupted, "tiny", "of a pull that was interrupted or still runs"),
    ],
)
def test_whatever_else_takes_room_in_the_cache_is_listed_until_it_is_removed(
    run: Run,
    tiny: CachedBase,
    cache: Path,
    leave: Callable[[Path], None],
    name: str,
    state: str,
) -> None:
    assert run("models", "--json").data["leftovers"] == []
    leave(tiny.path)
    (folder,) = cache.iterdir()
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert run("models", "--json").data["leftovers"] == [
        {
            "name": name,
            "state": state,
            "path": str(folder),
            "bytes": size,
            "beside_model": False,
        }
    ]
    shown = run("models").out
    assert f"{name}: {size / 1e6:.1f} MB in the cache, {state}\n" in shown
    assert f"`memplus models remove {name}`" in shown
    assert run("models", "remove", name, "--json").data["bytes"] == size
    assert run("models", "--json").data["leftovers"] == []
    assert list(cache.iterdir()) == []


def test_what_is_left_beside_a_whole_model_says_that_the_model_goes_with_it(
    run: Run, tiny: CachedBase, cache: Path
) -> None:
    left = cache / ".tiny.partial"
    left.mkdir()
    (left / "001.whl").write_bytes(b"half")
    assert "`memplus models remove tiny` frees it, and removes the model." in run("models").out
    assert run("models", "remove", "tiny").code == 0
    assert list(cache.iterdir()) == []


def test_removing_what_is_not_there_is_a_usage_error(run: Run) -> None:
    ran = run("models", "remove", "smollm2")
    assert ran.code == 2
    assert "There is no model 'smollm2' in the cache" in ran.err
    assert "relative path" not in ran.err  # it is no path that was given
    assert run("models", "remove", "..").code == 2


def test_sizes_have_one_name(run: Run) -> None:
    listed = run("models", "--json").data
    for one in listed["models"]:
        assert sorted(one) == ["bytes", "licence", "name", "parameters", "purpose"]
