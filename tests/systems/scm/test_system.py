from dataclasses import asdict
from pathlib import Path

import pytest
from tests.systems.scm.tiny import QUESTION, SENTENCES, small, told

from memplus.errors import SessionMismatchError
from memplus.systems.registry import make_systems
from memplus.systems.scm.calibration import Calibration, Measured
from memplus.systems.scm.options import SCMOptions

VARIANTS = [
    {},
    {"embed": "hidden"},
    {"vector_of": "summary"},
    {"embed": "hidden", "vector_of": "summary", "gate": "off"},
    {"controller": "yes", "recency": 0.0},
    {"rule": "paper", "item_limit": 45},
    {"naive": True},
    {"flash": False, "adapter": "none"},
    {"activation": False},
]


@pytest.mark.long
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_of_every_kind_a_saved_stream_answers_the_same_and_its_size_is_true(
    options: dict[str, object], tmp_path: Path
) -> None:
    system = small(**options)
    session = told(system, SENTENCES * 2)
    session.write("It waits for more", "text")
    path = tmp_path / "session"
    session.save(path)
    loaded = system.load(path)
    questions = [QUESTION, "Who slept?"]
    assert loaded.ask(questions, max_new_tokens=3) == session.ask(questions, max_new_tokens=3)
    assert loaded.recall(QUESTION).before == session.recall(QUESTION).before
    assert (loaded.tokens, loaded.nbytes) == (session.tokens, session.nbytes)
    assert abs(path.stat().st_size - session.nbytes) <= 0.05 * session.nbytes + 16_000
    for one in (session, loaded):
        one.write(" and more. And so on. " * 3, "text")
    assert loaded.stream.tokens == session.stream.tokens
    assert loaded.ask(questions, max_new_tokens=3) == session.ask(questions, max_new_tokens=3)


def test_a_stream_of_other_options_is_refused(tmp_path: Path) -> None:
    told(small()).save(tmp_path / "session")
    with pytest.raises(SessionMismatchError, match="embed=words"):
        small(embed="hidden").load(tmp_path / "session")


def test_its_name_has_its_options() -> None:
    (system,) = make_systems(["scm:gate=off:k=6"], small().shared)
    assert system.name == "scm:gate=off:k=6"
    assert system.identity["options"] == asdict(SCMOptions(gate="off", k=6))
    assert system.identity["controller"] == {"answers": None, "gate": None}


def test_its_title_says_which_controller_it_is_and_how_often_it_is_right() -> None:
    assert small().title.endswith("), plain controller not measured")
    measured = small()
    measured.calibration = Calibration(answers=Measured(0, 0.525, 0.5, 0.55, 1200))
    assert measured.title.endswith("), plain controller right in 52% [50%, 55%]")
    measured.answering = "tuned"
    assert measured.title.endswith("), tuned controller right in 52% [50%, 55%]")
    assert measured.identity["controller"]["answers"]["accuracy"] == 0.525
    for one in (small(controller="yes"), small(naive=True)):
        assert "measured" not in one.title
