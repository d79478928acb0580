"""A random model with room for whole prompts, and systems that shorten what they are told."""

from typing import Any

from tests.fakes import make_mplus
from tests.systems.conftest import SMALL

from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.session import SCMSession
from memplus.systems.scm.system import SCMSystem
from memplus.systems.shared import Shared

WIDE = Shared(lambda: make_mplus(config=SMALL, changes={"max_position_embeddings": 4096}))

SIZES: dict[str, Any] = {"limit": 150, "flash_limit": 50, "summary_above": 40, "chunk": 60, "k": 3}
"""So small that a few sentences do not fit: tokens are bytes."""

SENTENCES = [
    "The gate is red, and nobody came through it.",
    "It rained for days on end, said the keeper.",
    "A boat lay in the harbour, and it was blue.",
    "The name of the boat was Thistle of Leith.",
    "In winter it never left the harbour again.",
]
QUESTION = "Which colour is the boat in the harbour?"


def small(**options: Any) -> SCMSystem:
    return SCMSystem(WIDE, SCMOptions(**{**SIZES, **options}))


def told(system: SCMSystem, sentences: list[str] = SENTENCES) -> SCMSession:
    """A session with a turn for each sentence."""
    session = system.open(0)
    for sentence in sentences:
        session.tell(sentence, source="text")
    return session
