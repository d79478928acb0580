"""``memplus models``: every bundled model with what it is for."""

from tests.cli.conftest import Run

from memplus.mplus.bundled import bundled_models


def test_each_bundled_model_is_listed_with_size_and_purpose(run: Run) -> None:
    listed = run("models", "--json").data["models"]
    assert [one["name"] for one in listed] == [one.name for one in bundled_models()]
    assert all(one["bytes"] > 1_000_000 and one["purpose"] for one in listed)
    shown = run("models").out
    assert "nano: 1.2 million weights, 3.6 MB, Apache-2.0" in shown
    assert all(len(line) < 100 for line in shown.splitlines())
