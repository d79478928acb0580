from dataclasses import replace
from pathlib import Path

from tests.systems.conftest import SHARED

from memplus.cli.bench_made import SMOLLM2, Given, made_by

GIVEN = Given(
    benchmark="conflicts",
    system="mplus,nothing",
    options={"lengths": "500,600", "items": 2, "seeds": None, "set": ["hops=1", "older=2"]},
    small=True,
    model=SMOLLM2,
    device=None,
    texts=None,
)


def test_what_was_given_stands_in_the_command_and_the_usual_model_does_not() -> None:
    made = made_by(GIVEN, SHARED)
    assert made.command == (
        "memplus bench conflicts --system mplus,nothing --lengths 500,600 --items 2 "
        "--set hops=1 --set older=2 --small --dtype float32 --data DATA"
    )
    assert made.dtype == "float32"


def test_another_model_device_and_texts_are_named_but_no_path(tmp_path: Path) -> None:
    given = replace(GIVEN, model="nano", device="cpu", texts=[tmp_path / "book.txt"])
    assert made_by(given, SHARED).command.endswith(
        "--data DATA --model nano --device cpu --texts TEXTS"
    )
    own = replace(GIVEN, model=str(tmp_path))
    assert own.further == ["--model MODEL"]
