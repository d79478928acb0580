import pytest
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError
from memplus.systems.nothing import BareSystem
from memplus.systems.registry import make_systems
from memplus.systems.window import WindowOptions, WindowSystem

QUESTION = "What is red?"


def test_only_the_last_tokens_stand_before_the_question() -> None:
    session = WindowSystem(SHARED, WindowOptions(tokens=9)).open(0)
    session.write(["The gate is red.", " It rained."], "text")
    bare = BareSystem(SHARED).open(0)
    (asked,) = bare.ask([f"t rained.\n\n{QUESTION}"], max_new_tokens=6)
    (found,) = session.ask([QUESTION], max_new_tokens=6)
    assert (found.text, found.remark) == (asked.text, "cut 18 of 27 tokens")
    assert session.tokens == 27
    assert session.nbytes < 9 * 5 + session.known.nbytes + 4 * len(session.known.ids) + 1


def test_a_window_that_fits_refuses_nothing_however_long_the_text() -> None:
    session = WindowSystem(SHARED, WindowOptions(tokens=9, too_long="refuse")).open(0)
    session.write("The gate is red. " * 40, "text")
    assert not session.ask([QUESTION], max_new_tokens=6)[0].remark.startswith("refused")
    session = WindowSystem(SHARED, WindowOptions(tokens=250, too_long="refuse")).open(0)
    session.write("The gate is red. " * 40, "text")
    assert session.ask([QUESTION], max_new_tokens=6)[0].remark.startswith("refused")


def test_its_size_is_an_option() -> None:
    (system,) = make_systems(["window:tokens=64"], SHARED)
    assert system.name == "window:tokens=64"
    with pytest.raises(ConfigError, match="at least 1"):
        make_systems(["window:tokens=0"], SHARED)
