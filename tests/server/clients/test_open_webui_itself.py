"""Open WebUI itself before a served nano: what its page says is written, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.server.clients.webui import Interface, Talk, installed, running
from tests.server.serving import Served, serving
from tests.server.talking import held

from memplus.mplus.model import MPlus

pytestmark = pytest.mark.slow

HEADERS = {"X-Memory-Task": "{{TASK}}"}
"""What docs/server.md tells a person to set."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), nano, keys=True) as made:
        yield made


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    try:
        command = installed()
    except RuntimeError as error:
        pytest.skip(f"Open WebUI could not be installed: {error}")
    with running(command, tmp_path_factory.mktemp("interface")) as made:
        yield made


def test_what_its_page_says_is_written_once_for_its_user(
    served: Served, interface: Interface
) -> None:
    interface.connect(f"{served.url}/v1", served.key("house", gateway=True), HEADERS)
    assert interface.models() == ["nano"]
    talk, before = Talk(interface, "nano"), _chats(served)
    told = ("The gate is red.", "The car is blue.", "The boat is white.")
    for text in told:
        talk.say(text)
    answers = [one["content"] for one in talk.messages if one["role"] == "assistant"]
    assert len(answers) == len(told)
    assert all(answers)
    assert held(served, interface.user, "house") == "".join(f" {one}" for one in told)
    # Beside the three turns it asked for titles, tags and follow-ups.
    assert _chats(served) - before > len(told)


def test_another_chat_of_the_same_user_goes_on_in_the_same_memory(
    served: Served, interface: Interface
) -> None:
    key = served.key("shed", gateway=True)
    interface.connect(f"{served.url}/v1", key, HEADERS)
    interface.models()
    for text in ("The gate is red.", "The car is blue."):
        Talk(interface, "nano").say(text)
    assert held(served, interface.user, "shed") == " The gate is red. The car is blue."


def test_a_key_that_is_no_gateway_answers_and_writes_nothing(
    served: Served, interface: Interface
) -> None:
    interface.connect(f"{served.url}/v1", served.key("barn"), HEADERS)
    interface.models()
    assert Talk(interface, "nano").say("The gate is red.")
    assert held(served, interface.user, "barn") == ""


def _chats(served: Served) -> int:
    """Chats that were answered so far."""
    with served.client() as client:
        text = client.get("/metrics").text
    wanted = 'route="/v1/chat/completions"'
    lines = [one for one in text.splitlines() if wanted in one and "_total" in one]
    return int(sum(float(one.rpartition(" ")[2]) for one in lines))
