"""Open WebUI itself: installed from the package index, started, and driven as its page drives it.

It lies in an environment of its own, ``runs/environments/open-webui`` (MEMPLUS_PEERS names another
folder than ``runs/environments``), which is made once. uv resolves its 260 packages in seconds,
where pip takes many minutes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import uuid
import venv
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpx

__all__ = ["Interface", "Talk", "installed", "running"]

_ROOT = Path(__file__).parents[3]
_PATIENCE = 180.0

Found = TypeVar("Found")


def installed() -> Path:
    """Its command, installed where it is not there yet.

    Raises:
        RuntimeError: it cannot be installed; the message says why.
    """
    place = os.environ.get("MEMPLUS_PEERS")
    folder = (Path(place) if place else _ROOT / "runs" / "environments") / "open-webui"
    command, done = folder / "bin" / "open-webui", folder / "made"
    if done.is_file():
        return command
    venv.create(folder, clear=True, with_pip=True)
    override = folder / "override.txt"
    override.write_text(f"torch=={version('torch').partition('+')[0]}\n")
    links = os.environ.get("PIP_FIND_LINKS", "").split()
    python = str(folder / "bin" / "python")
    _run([python, "-m", "pip", "install", "-qq", "uv"])
    found = [argument for one in links for argument in ("--find-links", one)]
    uv = [str(folder / "bin" / "uv"), "pip", "install", "-q", "--python", python]
    _run([*uv, *found, "--override", str(override), "open-webui>=0.12"])
    done.touch()
    return command


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr.strip()[-500:])


class Interface:
    """A running Open WebUI with one user and one connection.

    Args:
        client: to its own API, as that user.
        user: the user's id.
    """

    def __init__(self, client: httpx.Client, user: str) -> None:
        self.client = client
        self.user = user

    def connect(self, url: str, key: str, headers: dict[str, str]) -> None:
        """Make one connection: base URL, key and the headers of its settings."""
        config = {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": [url],
            "OPENAI_API_KEYS": [key],
            "OPENAI_API_CONFIGS": {"0": {"enable": True, "headers": headers}},
        }
        self.client.post("/openai/config/update", json=config).raise_for_status()

    def models(self) -> list[str]:
        """What can be chosen."""
        found = self.client.get("/api/models").raise_for_status().json()["data"]
        return [one["id"] for one in found]


class Talk:
    """One chat, which the interface keeps and continues."""

    def __init__(self, interface: Interface, model: str) -> None:
        self.interface = interface
        self.model = model
        self.id = ""
        self.messages: list[dict[str, Any]] = []
        self._last: str | None = None

    def say(self, text: str) -> str:
        """A turn with all that the page asks for after it; the answer or the error shown."""
        asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
        self.messages.append({"role": "user", "content": text})
        turn = {"id": asked, "parentId": self._last, "role": "user", "content": text}
        tasks = ("title_generation", "tags_generation", "follow_up_generation")
        body = {
            "model": self.model,
            "stream": True,
            "messages": self.messages,
            "session_id": "page",
            "id": answered,
            "parent_id": self._last,
            "user_message": turn | {"timestamp": int(time.time()), "models": [self.model]},
            "background_tasks": dict.fromkeys(tasks, True),
        }
        if self.id:
            body["chat_id"] = self.id
        sent = self.interface.client.post("/api/chat/completions", json=body).raise_for_status()
        self.id = sent.json().get("chat_id") or self.id
        found = _patiently(lambda: self._answer(answered))
        self.messages.append({"role": "assistant", "content": found})
        self._last = answered
        return found

    def kept(self) -> dict[str, Any]:
        """The chat as the interface keeps it."""
        found = self.interface.client.get(f"/api/v1/chats/{self.id}").raise_for_status().json()
        assert isinstance(found, dict)
        return found

    def _answer(self, id: str) -> str:
        message = self.kept()["chat"]["history"]["messages"].get(id, {})
        error = message.get("error")
        if error:
            return str(error.get("content") if isinstance(error, dict) else error)
        return str(message.get("content", "")) if message.get("done") else ""


@contextlib.contextmanager
def running(command: Path, folder: Path) -> Iterator[Interface]:
    """Start it with its data in a folder, without a network, for a single user."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = {
        "DATA_DIR": str(folder / "data"),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "of a test",
        "ENABLE_OLLAMA_API": "False",
        "ENABLE_FORWARD_USER_INFO_HEADERS": "True",
        "RAG_EMBEDDING_ENGINE": "openai",  # its own would be fetched
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "SCARF_NO_ANALYTICS": "True",
        "DO_NOT_TRACK": "True",
        "ANONYMIZED_TELEMETRY": "False",
    }
    environment = {name: one for name, one in os.environ.items() if name != "PYTHONPATH"}
    serve = [str(command), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(serve, env=environment | settings, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=url, timeout=60.0) as client:
                signed = _patiently(lambda: _signed_in(client))
                client.headers["authorization"] = f"Bearer {signed['token']}"
                yield Interface(client, signed["id"])
        finally:
            process.terminate()
            process.wait(60)


def _signed_in(client: httpx.Client) -> dict[str, Any]:
    """The only user, once the interface answers; empty before."""
    try:
        response = client.post("/api/v1/auths/signin", json={"email": "", "password": ""})
    except httpx.TransportError:
        return {}
    found = response.json() if response.is_success else {}
    assert isinstance(found, dict)
    return found


def _patiently(look: Callable[[], Found]) -> Found:
    end = time.monotonic() + _PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError("Open WebUI did not do it in time")
        time.sleep(0.2)
