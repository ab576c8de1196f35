"""A real Matrix homeserver, Synapse, for the tests; and people who write through it.

Synapse (AGPL) runs from an environment of its own and is imported nowhere. `make test` installs
it into `.venv-synapse`; `KFBOT_TEST_SYNAPSE` names the python of another environment that has it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import pytest

from tests.faults.servers import free_port

START_SECONDS = 120.0
#: Somebody waits for an answer at most so long.
WAIT_SECONDS = 60.0
SERVER_NAME = "shop.test"
_CHECKOUT = Path(__file__).resolve().parents[2]


def synapse_python() -> Path | None:
    """The python that has Synapse; None: there is none."""
    given = os.environ.get("KFBOT_TEST_SYNAPSE")
    python = Path(given) if given else _CHECKOUT / ".venv-synapse" / "bin" / "python"
    return python if python.exists() else None


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """One homeserver for all tests; each of them brings people of its own."""
    python = synapse_python()
    if python is None:
        reason = "SYNAPSE IS MISSING: no Matrix test runs; `make test` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    homeserver = Synapse(python, tmp_path_factory.mktemp("synapse"))
    homeserver.start()
    try:
        yield homeserver
    finally:
        homeserver.stop()


class Synapse:
    """The homeserver: on SQLite, at a free port of 127.0.0.1, without limits of its own."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self._secret = secrets.token_hex(16)
        self._port = free_port()
        self._running: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        (folder / "signing.key").write_text(f"ed25519 a_test {seed}\n", encoding="ascii")
        # YAML knows JSON.
        settings = json.dumps(self._settings(), indent=1)
        (folder / "homeserver.yaml").write_text(settings, encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._running is None
        with (self._folder / "synapse.log").open("ab") as log:
            self._running = subprocess.Popen(
                [self._python, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > until or self._running.poll() is not None:
                self.stop()
                tail = (self._folder / "synapse.log").read_text("utf-8", "replace")[-3000:]
                raise AssertionError(f"Synapse did not start\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; nothing is left running."""
        if self._running is None:
            return
        self._running.send_signal(signal.SIGTERM)
        try:
            self._running.wait(10)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait(10)
        self._running = None

    def register(self, name: str, *, admin: bool = False) -> tuple[str, str]:
        """A new account of that name, made unique; returns its id and an access token."""
        user = f"{name}-{secrets.token_hex(4)}"
        nonce = self.call("GET", "/_synapse/admin/v1/register")["nonce"]
        signed = [nonce, user, "secret", "admin" if admin else "notadmin"]
        mac = hmac.new(self._secret.encode(), "\0".join(signed).encode(), hashlib.sha1)
        body = {"nonce": nonce, "username": user, "password": "secret", "admin": admin}
        answer = self.call("POST", "/_synapse/admin/v1/register", body | {"mac": mac.hexdigest()})
        return answer["user_id"], answer["access_token"]

    def slow_down(self, user_id: str) -> None:
        """Let somebody send one message a second."""
        _, token = self.register("root", admin=True)
        path = f"/_synapse/admin/v1/users/{quote(user_id)}/override_ratelimit"
        self.call("POST", path, {"messages_per_second": 1, "burst_count": 1}, token=token)

    def call(self, method: str, path: str, body: Any = None, *, token: str = "") -> dict[str, Any]:
        """Call the homeserver."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.loads(response.read())
        return answer

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False

    def _settings(self) -> dict[str, Any]:
        unlimited = {"per_second": 100_000, "burst_count": 100_000}
        return {
            "server_name": SERVER_NAME,
            "pid_file": str(self._folder / "synapse.pid"),
            "public_baseurl": f"{self.url}/",
            "listeners": [
                {
                    "port": self._port,
                    "type": "http",
                    "bind_addresses": ["127.0.0.1"],
                    "resources": [{"names": ["client", "media"]}],
                }
            ],
            "database": {
                "name": "sqlite3",
                "args": {"database": str(self._folder / "homeserver.db")},
            },
            "signing_key_path": str(self._folder / "signing.key"),
            "media_store_path": str(self._folder / "media"),
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": self._secret,
            "form_secret": self._secret,
            "report_stats": False,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "bcrypt_rounds": 4,
            "rc_message": unlimited,
            "rc_login": {"address": unlimited, "account": unlimited},
            "rc_joins": {"local": unlimited, "remote": unlimited},
            "rc_joins_per_room": unlimited,
            "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), unlimited),
            "rc_room_creation": unlimited,
            "rc_admin_redaction": unlimited,
        }


@dataclass(frozen=True)
class Shown:
    """A message as a client shows it: what edits made of it, with its thread."""

    event_id: str
    sender: str
    text: str
    #: "" without a form.
    html: str
    thread: str | None
    replied_to: str | None
    content: dict[str, Any]


class Person:
    """Somebody with an account, who writes and reads by the homeserver's own API."""

    def __init__(self, synapse: Synapse, name: str) -> None:
        self.id, self.token = synapse.register(name)
        self._synapse = synapse
        self._since = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers={"authorization": f"Bearer {self.token}"})
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """Call the client API; a refusal is an AssertionError."""
        params = {
            name: one if isinstance(one, str) else json.dumps(one) for name, one in query.items()
        }
        address = f"{self._synapse.url}/_matrix/client/v3{path}"
        async with self._http.request(method, address, json=body, params=params) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer

    async def opens(self, *invited: str, **fields: Any) -> str:
        """Create a private room and invite people; returns its id."""
        body = {"preset": "private_chat", "invite": list(invited)} | fields
        return str((await self.call("POST", "/createRoom", body))["room_id"])

    async def joins(self, room: str) -> None:
        """Accept an invitation."""
        await self.call("POST", f"/join/{quote(room)}", {})

    async def says(self, room: str, text: str, **fields: Any) -> str:
        """Write in a room; returns the id of the event."""
        return await self.sends(
            room, "m.room.message", {"msgtype": "m.text", "body": text} | fields
        )

    async def edits(self, room: str, event_id: str, text: str, **fields: Any) -> str:
        """Change a message."""
        new = {"msgtype": "m.text", "body": text} | fields
        relation = {"rel_type": "m.replace", "event_id": event_id}
        return await self.says(
            room, f"* {text}", **{"m.new_content": new, "m.relates_to": relation}
        )

    async def sends(self, room: str, kind: str, content: dict[str, Any]) -> str:
        """Send an event of any kind."""
        path = f"/rooms/{quote(room)}/send/{kind}/{secrets.token_hex(8)}"
        return str((await self.call("PUT", path, content))["event_id"])

    async def sets(self, room: str, kind: str, content: dict[str, Any]) -> None:
        """Change a room's state."""
        await self.call("PUT", f"/rooms/{quote(room)}/state/{kind}", content)

    async def redacts(self, room: str, event_id: str) -> None:
        """Delete a message."""
        path = f"/rooms/{quote(room)}/redact/{quote(event_id)}/{secrets.token_hex(8)}"
        await self.call("PUT", path, {})

    async def uploads(self, data: bytes) -> str:
        """Upload a file; returns its mxc:// address."""
        address = f"{self._synapse.url}/_matrix/media/v3/upload"
        async with self._http.post(address, data=io.BytesIO(data)) as response:
            return str((await response.json())["content_uri"])

    async def sees(self, room: str) -> list[Shown]:
        """The messages of a room, oldest first."""
        wanted = {"types": ["m.room.message"]}
        path = f"/rooms/{quote(room)}/messages"
        page = await self.call("GET", path, dir="b", limit="100", filter=wanted)
        return _shown(page["chunk"][::-1])

    async def until(
        self, room: str, holds: Callable[[list[Shown]], bool], *, sender: str
    ) -> list[Shown]:
        """What somebody has written in a room, once that holds."""
        shown: list[Shown] = []
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    asked = {"since": self._since} if self._since else {}
                    self._since = (await self.call("GET", "/sync", **asked))["next_batch"]
                    shown = [one for one in await self.sees(room) if one.sender == sender]
                    if holds(shown):
                        return shown
                    await self.call("GET", "/sync", since=self._since, timeout="20000")
        except TimeoutError:
            raise AssertionError(f"not seen in time: {shown}") from None

    async def until_answered(self, room: str, bot: str, count: int = 1) -> list[Shown]:
        """What the bot has written in a room, once there are so many messages."""
        return await self.until(room, lambda shown: len(shown) >= count, sender=bot)


def _shown(events: list[dict[str, Any]]) -> list[Shown]:
    found: dict[str, Shown] = {}
    for event in events:
        content = event["content"]
        relation = content.get("m.relates_to", {})
        edited = found.get(relation.get("event_id", ""))
        is_edit = relation.get("rel_type") == "m.replace"
        if is_edit and (edited is None or edited.sender != event["sender"]):
            continue
        new = content["m.new_content"] if is_edit else content
        replied = relation.get("m.in_reply_to", {}).get("event_id")
        shown = Shown(
            event_id=edited.event_id if is_edit and edited else event["event_id"],
            sender=event["sender"],
            text=new.get("body", ""),
            html=new.get("formatted_body", ""),
            thread=relation.get("event_id") if relation.get("rel_type") == "m.thread" else None,
            replied_to=None if relation.get("is_falling_back") else replied,
            content=new,
        )
        if is_edit and edited:
            shown = replace(shown, thread=edited.thread, replied_to=edited.replied_to)
        found[shown.event_id] = shown
    return list(found.values())
