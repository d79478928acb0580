"""The examples, run as their readers run them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.server.serving import Served
from tests.server.speaking import ANSWER, FACT, QUESTION, texts
from tests.warm import python

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(served: Served, key: str, name: str, *arguments: str) -> str:
    """What an example prints."""
    environment = os.environ | {"MEMPLUS_KEY": key, "MEMPLUS_URL": served.url}
    command = [*python(), str(EXAMPLES / name), *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"langgraph_agent.py", "llm_memplus.py"}


def test_the_servers_page_asks_the_model_that_it_serves(keyed: Served) -> None:
    page = (EXAMPLES.parent / "docs" / "server.md").read_text()
    assert "memplus serve --model nano " in page
    (shown,) = re.findall(r"```python\n(from openai .*?)```", page, flags=re.DOTALL)
    key = keyed.key("page")
    for placeholder, given in (("http://127.0.0.1:8000", keyed.url), ("KEY", key)):
        assert placeholder in shown
        shown = shown.replace(placeholder, given)
    exec(shown, {})
    with keyed.client(key) as client:
        assert [one.strip() for one in texts(client, "anna")] == ["My dog is called Rex."]


@pytest.mark.long
def test_the_agent_remembers_from_one_start_to_the_next(keyed: Served) -> None:
    key = keyed.key("agent")
    said = run(keyed, key, "langgraph_agent.py", "--url", keyed.url, FACT)
    assert said == "I will remember that.\n"
    assert run(keyed, key, "langgraph_agent.py", "--url", keyed.url, QUESTION) == f"{ANSWER}\n"
    with keyed.client(key) as client:
        assert texts(client, "agent") == [FACT]


@pytest.mark.long
def test_the_plugin_remembers_from_one_call_to_the_next(keyed: Served) -> None:
    key = keyed.key("plugin")
    run(keyed, key, "llm_memplus.py", FACT)
    assert ANSWER in run(keyed, key, "llm_memplus.py", QUESTION)
    with keyed.client(key) as client:
        assert FACT in "".join(texts(client, "llm"))


def test_the_plugin_is_a_model_where_llm_is_installed(keyed: Served, tmp_path: Path) -> None:
    pytest.importorskip("llm")
    key = keyed.key("llm")
    code = "import sys, llm, llm_memplus; llm.plugins.pm.register(llm_memplus); model = "
    code += "llm.get_model('memplus'); print(model.prompt(sys.argv[1], memory='work').text())"
    environment = os.environ | {
        "PYTHONPATH": str(EXAMPLES), "MEMPLUS_KEY": key, "MEMPLUS_URL": keyed.url,
        "LLM_USER_PATH": str(tmp_path),
    }  # fmt: skip
    for said, expected in ((FACT, ""), (QUESTION, ANSWER)):
        command = [*python(), "-c", code, said]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    with keyed.client(key) as client:
        assert FACT in "".join(texts(client, "work"))
