import pytest

from memplus.errors import ConfigError
from memplus.evaluation.tasks.sort_wordings import ENDS, WORDINGS, Trial, Wording, wordings

TRIAL = Trial("Salt And Iron", ("The lamp was lit.", "She left."), "first")
SHOWN = Trial("Salt And Iron", ("The lamp was lit.", "She left."), "first", "The whole text.")


def test_there_are_six_wordings_and_no_two_say_the_same() -> None:
    assert len({one.prompt(TRIAL) for one in WORDINGS.values()}) == len(WORDINGS) == 6


@pytest.mark.parametrize("wording", WORDINGS.values(), ids=WORDINGS)
def test_a_wording_names_the_book_the_labels_and_what_is_asked(wording: Wording) -> None:
    for end in ENDS:
        trial = Trial(TRIAL.title, TRIAL.shown, end)
        prompt = wording.prompt(trial)
        assert prompt.count("Segment A: The lamp was lit. Segment B: She left.\n") == 1
        assert TRIAL.title in prompt
        last = prompt.rstrip().splitlines()[-1]
        assert end in last
        assert "A or B" in last or ("A" in last.split(",")[1] and "B" in last)
        assert wording.answer_start.endswith("Segment"), "the next token is the label"
        assert not any(mark in prompt for mark in "{}*<>")


@pytest.mark.parametrize("wording", WORDINGS.values(), ids=WORDINGS)
def test_an_excerpt_is_parted_from_the_task(wording: Wording) -> None:
    prompt = wording.prompt(SHOWN)
    assert prompt.endswith("\n\n" + wording.prompt(TRIAL))
    assert "The whole text.\n\n" in prompt


def test_a_text_that_looks_like_a_tag_stays_as_it_is() -> None:
    trial = Trial("The {end}", ("{b}", "{segments}"), "second")
    assert WORDINGS["short"].prompt(trial) == (
        "Segment A: {b} Segment B: {segments}\n\nWhich of these comes second in The {end}: A or B?"
    )


def test_an_unknown_wording_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"pieces, recall, .*, and all"):
        wordings("best")
    assert wordings("all") == tuple(WORDINGS.values())
