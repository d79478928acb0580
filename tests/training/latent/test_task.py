from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.latent.surroundings import around

from memplus.errors import ConfigError
from memplus.training.latent.books import Books


def test_a_task_is_called_by_its_name_or_its_kind() -> None:
    assert Books().label == "books"
    assert Books(name="long").label == "long"


@pytest.mark.parametrize(("field", "value"), [("weight", 0.0), ("name", "a/b")])
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Books(**{field: value})  # type: ignore[arg-type]
    assert caught.value.fields["field"] == field


def test_stretches_are_those_of_this_process(tmp_path: Path) -> None:
    whole, own = around(tmp_path, range(3), 3), around(tmp_path, range(1, 2), 3)
    for length in (20, 50):
        assert whole.take(length)[1:2].equal(own.take(length))


def test_what_is_drawn_depends_on_seed_step_part_and_document(tmp_path: Path) -> None:
    one = around(tmp_path)
    drawn = {one.random(*where).random() for where in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))}
    assert len(drawn) == 4
    assert one.random(2, 1, "x").random() == around(tmp_path).random(2, 1, "x").random()
