"""The server that owns the data folder, as commands see it: over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from kfbot.errors import ServerRefused
from kfbot.knowledge_base import Progress
from kfbot.places import places

#: The server itself gives a turn 25 s.
_TIMEOUT = httpx.Timeout(40.0, connect=5.0)
_CUSTOMER_TIMEOUT = httpx.Timeout(1800.0, connect=5.0)
#: A server that is alive answers within this time, however busy it is.
_ALIVE_SECONDS = 8.0
_JOB_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    url: str
    token: str


async def find_server(data_dir: Path) -> Address | None:
    """A living server that works in a data folder; None if there is none.

    A server.json that a killed server left behind counts for nothing.
    """
    for place in places(data_dir):
        if (address := await _living(place)) is not None:
            return address
    return None


async def _living(place: Path) -> Address | None:
    try:
        found = json.loads((place / "server.json").read_text(encoding="utf-8"))
        address = Address(str(found["url"]), str(found["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    async with httpx.AsyncClient(timeout=_ALIVE_SECONDS, trust_env=False) as http:
        try:
            answer = await http.get(f"{address.url}/healthz")
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
    # 503: it is ours, and cannot answer customers now.
    return address if answer.status_code in (200, 503) else None


class Client:
    """Calls the HTTP API. Open with `async with`.

    Every method raises ServerRefused, in one line, when the server says no or is gone.
    """

    def __init__(self, address: Address) -> None:
        self._url = address.url
        self._http = httpx.AsyncClient(
            base_url=f"{address.url}/api/v1/",
            headers={"Authorization": f"Bearer {address.token}"},
            timeout=_TIMEOUT,
            # A proxy of the environment must not get requests to this machine.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def ask(self, query: str, conversation: str | None = None) -> dict[str, Any]:
        """The answer's `data`; with a conversation it is a full turn."""
        body: dict[str, Any] = {"query": query}
        if conversation is not None:
            body["conversation"] = conversation
        answer: dict[str, Any] = await self._call("POST", "ask", body)
        return answer

    async def conversations(self) -> list[dict[str, Any]]:
        """Those who wait for an agent or talk to one, the longest waiting first."""
        listed: list[dict[str, Any]] = await self._call("GET", "conversations")
        return listed

    async def find_conversation(self, chat: str) -> dict[str, Any] | None:
        """The API conversation of this name, in whatever state; None before its first turn."""
        query = {"channel": "api", "chat": chat}
        found: list[dict[str, Any]] = await self._call("GET", "conversations", query=query)
        return found[0] if found else None

    async def conversation(self, number: int, *, after: int = 0) -> dict[str, Any]:
        """State, open case and transcript (from the message id `after` on)."""
        query = {"after": str(after)}
        found: dict[str, Any] = await self._call("GET", f"conversations/{number}", query=query)
        return found

    async def change(self, number: int, change: str, agent: str) -> dict[str, Any]:
        """`change` is claim, handback or resolve; returns the new state."""
        path = f"conversations/{number}/{change}"
        state: dict[str, Any] = await self._call("POST", path, {"agent": agent})
        return state

    async def reply(self, number: int, agent: str, text: str, *, internal: bool = False) -> None:
        """Write to the customer, or (internal) a note to other agents."""
        body = {"agent": agent, "text": text, "internal": internal}
        await self._call("POST", f"conversations/{number}/reply", body)

    async def knowledge(self) -> list[dict[str, Any]]:
        """The state of every knowledge base."""
        listed: list[dict[str, Any]] = await self._call("GET", "knowledge")
        return listed

    async def roll_back(self, name: str) -> int:
        """Take a knowledge base back to the generation before; returns its number."""
        path = f"knowledge/{quote(name, safe='')}/rollback"
        done: dict[str, int] = await self._call("POST", path, {})
        return done["generation"]

    async def calibrate(self, name: str, calibration: dict[str, Any] | None) -> None:
        """Have a knowledge base corrected like this from now on; None: not at all."""
        path = f"knowledge/{quote(name, safe='')}/calibration"
        if calibration is None:
            await self._call("DELETE", path)
        else:
            await self._call("PUT", path, calibration)

    async def search(self, query: str) -> dict[str, Any]:
        """Passages with scores, and the evidence."""
        found: dict[str, Any] = await self._call("GET", "knowledge/search", query={"q": query})
        return found

    async def load(self, names: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        """Load the named knowledge bases (none named: all); returns when they are loaded."""
        paths = [f"knowledge/{quote(name, safe='')}/reload" for name in names]
        reports: list[dict[str, Any]] = []
        for path in paths or ["knowledge/reload"]:
            started = await self._call("POST", path, {})
            reports += await self._wait_for(started["job"], progress)
        return reports

    async def dead_letters(self, query: dict[str, str]) -> dict[str, Any]:
        """A part of the list (`letters`), and what to ask `before` with for the `next`."""
        found: dict[str, Any] = await self._call("GET", "dead-letters", query=query)
        return found

    async def dead_letter(self, letter: str) -> dict[str, Any]:
        """One dead letter, whole."""
        found: dict[str, Any] = await self._call("GET", f"dead-letters/{letter}")
        return found

    async def change_dead_letter(self, letter: str, change: str) -> str | None:
        """`change` is replay or discard; returns why it cannot be done with this letter, if so."""
        path = f"dead-letters/{letter}/{change}"
        status, message, _ = await self._answer("POST", path, {})
        if status in (404, 409):
            return message
        _check(status, message)
        return None

    async def event_deliveries(self, query: dict[str, str]) -> dict[str, Any]:
        """A part of the log (`deliveries`), and what to ask `before` with for the `next`."""
        found: dict[str, Any] = await self._call("GET", "event-deliveries", query=query)
        return found

    async def retry_delivery(self, number: int) -> None:
        """Have a system told once more.

        Raises:
            ServerRefused: There is no such delivery.
        """
        await self._call("POST", f"event-deliveries/{number}/retry", {})

    async def customers(self, query: dict[str, str]) -> dict[str, Any]:
        """A part of the list (`customers`), and what to ask `before` with for the `next`."""
        found: dict[str, Any] = await self._call("GET", "customers", query=query)
        return found

    async def export_customer(self, channel: str, user: str) -> dict[str, Any]:
        """Everything that is kept of a customer.

        Raises:
            ServerRefused: There is no such customer.
        """
        found: dict[str, Any] = await self._call("GET", f"{_customer(channel, user)}/export")
        return found

    async def erase_customer(self, channel: str, user: str, *, entries: bool) -> dict[str, Any]:
        """Remove it; `entries`: also those of knowledge bases.

        Raises:
            ServerRefused: There is no such customer.
        """
        query = {"entries": "true"} if entries else None
        done: dict[str, Any] = await self._call("DELETE", _customer(channel, user), query=query)
        return done

    async def _wait_for(self, job_id: str, progress: Progress) -> list[dict[str, Any]]:
        while True:
            job = await self._call("GET", f"jobs/{job_id}")
            progress(job["stage"], job["done"], job["total"])
            if job["state"] == "failed":
                raise ServerRefused(job["error"])
            if job["state"] == "done":
                reports: list[dict[str, Any]] = job["reports"]
                return reports
            await asyncio.sleep(_JOB_SECONDS)

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
    ) -> Any:
        status, message, data = await self._answer(method, path, body, query=query)
        _check(status, message)
        return data

    async def _answer(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
    ) -> tuple[int, str, Any]:
        """Status, message and data of an answer, whatever it says."""
        # What is kept of somebody may be much, and to clean a large file takes long.
        timeout = _CUSTOMER_TIMEOUT if path.startswith("customers/") else _TIMEOUT
        try:
            response = await self._http.request(
                method, path, json=body, params=query, timeout=timeout
            )
            answer = response.json()
            return response.status_code, str(answer["msg"]), answer["data"]
        except httpx.TimeoutException:
            raise ServerRefused(f"the server at {self._url} is too slow; look at its log") from None
        except httpx.HTTPError:
            raise ServerRefused(f"the server at {self._url} is gone; try again") from None
        except (ValueError, KeyError, TypeError):
            raise ServerRefused(f"what answers at {self._url} is no kfbot") from None


def _customer(channel: str, user: str) -> str:
    return f"customers/{quote(channel, safe='')}/{quote(user, safe='')}"


def _check(status: int, message: str) -> None:
    if status >= 400:
        raise ServerRefused(message)
