"""What every system says and finds likely on the tiny model, and what was recorded of it.

    python -m tests.systems.answers

records it anew. Where a change of code moves these figures, figures of before are old: raise the
system's ``revision`` too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.systems.conftest import SHARED
from tests.systems.options import spec_for

from memplus.fields import named
from memplus.systems.protocol import ChatPrompt, Scores
from memplus.systems.registry import SYSTEMS, make_systems

__all__ = ["RECORD", "found_of", "recorded"]

RECORD = Path(__file__).with_suffix(".json")

TEXTS = (
    "The gate is red, and nobody came. It rained for days on end; the keeper slept. ",
    "A boat lay in the harbour. Its name was Thistle, and it never left again in winter. ",
    "The gate is green now. The keeper's brother painted it in March, and the keeper woke. ",
)
QUESTIONS = ("What colour is the gate?", "Who slept?", "What was the boat's name?")
OPTIONS = ("green", "Thistle", "the keeper")
SMALLER = {
    "window": {"tokens": "24"},
    "bm25": {"k": "1", "tokens": "16"},
    "embeddings": {"k": "1", "tokens": "16"},
    "scm": {"k": "1", "chunk": "24"},
}
"""Options under which so little text is cut and chosen from."""


def found_of(name: str) -> dict[str, Any]:
    """A system's revision, and of every question the log-probabilities of the options behind it
    and what is generated.
    """
    spec = named(spec_for(name), SMALLER.get(name, {}))
    (system,) = make_systems([spec], SHARED)
    session = system.open(3)
    for number, text in enumerate(TEXTS):
        session.write(text, f"text {number}")
    session.flush()
    assert isinstance(session, Scores)
    scores = session.score([ChatPrompt(one) for one in QUESTIONS], [OPTIONS] * len(QUESTIONS))
    return {
        "revision": type(system).revision,  # type: ignore[attr-defined]
        "scores": [[round(p, 5) for p, _ in row] for row in scores],
        "said": [one.generated for one in session.ask(QUESTIONS, max_new_tokens=6)],
    }


def recorded() -> dict[str, Any]:
    """What was recorded, by the system's name."""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    lines = [f'  "{name}": {json.dumps(found_of(name))}' for name in SYSTEMS]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
