"""Every endpoint, and who may use it: `test_routes.py` holds the server to this table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

MIB = 1024 * 1024


class Who(Enum):
    """Who gets in, and what all others are answered."""

    #: Everybody; shows nothing of customers, and changes nothing.
    ANYONE = "anyone"
    #: The holder of a token of `[web] tokens` or of server.json; where none is configured also
    #: the programs of this machine. Others: 401; pages of other origins 403.
    TOKEN = "API token"
    #: As TOKEN, and the holder of `[web] metrics_token`.
    METRICS = "metrics token"
    #: A platform whose request its adapter vouches for. Others: 400, 401, 403 or 404.
    PLATFORM = "webhook signature"
    #: The holder of a signed cookie, for one's own conversation. Others: 401.
    VISITOR = "visitor's cookie"
    #: Who knows a name and its password; 5 failures lock a name, 30 an address.
    PASSWORD = "name and password"
    #: Somebody on this machine, as long as there is no agent. Others: 403.
    FIRST_VISIT = "first visit"
    #: A desk session of at least this role, with its CSRF token for what changes something.
    #: Nobody's session: 401; a lower role, another's CSRF token, another origin: 403.
    VIEWER = "viewer"
    AGENT = "agent"
    ADMIN = "admin"


DESK = (Who.VIEWER, Who.AGENT, Who.ADMIN)


@dataclass(frozen=True)
class Row:
    """One endpoint, with a request that would do."""

    method: str
    path: str
    who: Who
    #: What is sent as JSON; None: it takes no body.
    body: Any = None
    #: Largest body. No answer under DESK or TOKEN is kept by caches.
    limit: int = MIB
    #: Beside what every endpoint has: bodies within 30 s (uploads 600 s), heads within 75 s.
    rate: str = ""
    #: False: whatever is sent is thrown away unread.
    reads_body: bool = True
    #: Stays open, so that it is not read to its end.
    is_stream: bool = False
    #: The content type that it takes.
    takes: str = "application/json"

    @property
    def reads(self) -> bool:
        """True where nothing is changed."""
        return self.method == "GET"


_API, _DESK = "/api/v1", "/desk/api"
_CASE, _ENTRY = f"{_DESK}/conversations/{{id}}", f"{_DESK}/proposals/{{id}}"
_PROPOSAL = {"question": "q", "answer": "a", "knowledge_base": "fake"}
_PERSON = {"name": "eve", "display_name": "Eve", "password": "let me in, let me in"}

ROUTES = (
    # Pages, and what watches the bot.
    Row("GET", "/", Who.ANYONE),
    Row("GET", "/healthz", Who.ANYONE),
    Row("GET", "/readyz", Who.ANYONE),
    Row("GET", "/metrics", Who.METRICS),
    Row("GET", "/widget.js", Who.ANYONE),
    Row("GET", "/chat", Who.ANYONE),
    Row("GET", "/chat/static/{name}", Who.ANYONE),
    Row("GET", "/chat/config", Who.ANYONE),
    Row("GET", "/desk", Who.ANYONE),
    Row("GET", "/desk/", Who.ANYONE),
    Row("GET", "/desk/static/{name}", Who.ANYONE),
    Row("GET", f"{_API}/openapi.json", Who.ANYONE),
    # Customers.
    Row(
        "POST",
        "/chat/messages",
        Who.VISITOR,
        {"message_id": "m-1", "text": "hello"},
        rate="[channels.web] messages_per_minute of one visitor",
    ),
    Row(
        "GET",
        "/chat/events",
        Who.VISITOR,
        rate="10 of one visitor, half of the files the system allows of all",
        is_stream=True,
    ),
    Row(
        "*", "/webhooks/{channel}", Who.PLATFORM, {}, rate="messages_per_minute of one conversation"
    ),
    Row("*", "/webhooks/{channel}/{path}", Who.PLATFORM, {}),
    # The operator's programs.
    Row("POST", f"{_API}/ask", Who.TOKEN, {"query": "hello"}),
    Row("GET", f"{_API}/conversations", Who.TOKEN),
    Row("GET", f"{_API}/conversations/{{id}}", Who.TOKEN),
    Row("POST", f"{_API}/conversations/{{id}}/claim", Who.TOKEN, {}),
    Row("POST", f"{_API}/conversations/{{id}}/reply", Who.TOKEN, {"text": "hello"}),
    Row("POST", f"{_API}/conversations/{{id}}/handback", Who.TOKEN, {}),
    Row("POST", f"{_API}/conversations/{{id}}/resolve", Who.TOKEN, {}),
    Row("GET", f"{_API}/knowledge", Who.TOKEN),
    Row("GET", f"{_API}/knowledge/search", Who.TOKEN),
    Row("POST", f"{_API}/knowledge/reload", Who.TOKEN, {}, reads_body=False),
    Row("POST", f"{_API}/knowledge/{{kb}}/reload", Who.TOKEN, {}, reads_body=False),
    Row("POST", f"{_API}/knowledge/{{kb}}/rollback", Who.TOKEN, {}, reads_body=False),
    Row("PUT", f"{_API}/knowledge/{{kb}}/calibration", Who.TOKEN, {}),
    Row("DELETE", f"{_API}/knowledge/{{kb}}/calibration", Who.TOKEN),
    Row(
        "POST",
        f"{_API}/doc/upload",
        Who.TOKEN,
        b"--x\r\n\r\n",
        limit=20 * MIB,
        takes="multipart/form-data; boundary=x",
    ),
    Row("GET", f"{_API}/knowledge/{{kb}}/uploads", Who.TOKEN),
    Row("DELETE", f"{_API}/knowledge/{{kb}}/uploads/{{name}}", Who.TOKEN),
    Row("GET", f"{_API}/jobs/{{id}}", Who.TOKEN),
    Row("GET", f"{_API}/dead-letters", Who.TOKEN),
    Row("GET", f"{_API}/dead-letters/{{id}}", Who.TOKEN),
    Row("POST", f"{_API}/dead-letters/{{id}}/replay", Who.TOKEN, {}, reads_body=False),
    Row("POST", f"{_API}/dead-letters/{{id}}/discard", Who.TOKEN, {}, reads_body=False),
    Row("GET", f"{_API}/event-deliveries", Who.TOKEN),
    Row("POST", f"{_API}/event-deliveries/{{id}}/retry", Who.TOKEN, {}, reads_body=False),
    Row("GET", f"{_API}/customers", Who.TOKEN),
    Row("GET", f"{_API}/customers/{{channel}}/{{id}}/export", Who.TOKEN),
    Row("DELETE", f"{_API}/customers/{{channel}}/{{id}}", Who.TOKEN, reads_body=False),
    # Agents.
    Row("GET", f"{_DESK}/session", Who.ANYONE),
    Row("POST", f"{_DESK}/setup", Who.FIRST_VISIT, _PERSON),
    Row(
        "POST",
        f"{_DESK}/session",
        Who.PASSWORD,
        {"name": "anna", "password": "a guess, a guess"},
        rate="5 failures of one name, 30 of one address, then 429",
    ),
    Row("DELETE", f"{_DESK}/session", Who.VIEWER),
    Row("PATCH", f"{_DESK}/session", Who.VIEWER, {"away": True}),
    Row("GET", f"{_DESK}/events", Who.VIEWER, rate="20 of one agent", is_stream=True),
    Row("GET", f"{_DESK}/conversations", Who.VIEWER),
    Row("GET", _CASE, Who.VIEWER),
    Row("GET", f"{_CASE}/earlier", Who.VIEWER),
    Row("POST", f"{_CASE}/claim", Who.AGENT, {}),
    Row("POST", f"{_CASE}/handback", Who.AGENT, {}),
    Row("POST", f"{_CASE}/resolve", Who.AGENT, {}),
    Row("POST", f"{_CASE}/assign", Who.AGENT, {"agent": None}),
    Row("POST", f"{_CASE}/reply", Who.AGENT, {"text": "x", "client_id": "1"}),
    Row("POST", f"{_CASE}/suggest", Who.AGENT, {}),
    Row("POST", f"{_CASE}/typing", Who.AGENT, {}),
    Row("GET", f"{_DESK}/canned", Who.VIEWER),
    Row("POST", f"{_DESK}/canned", Who.AGENT, {"title": "t", "text": "x"}),
    Row("PUT", f"{_DESK}/canned/{{id}}", Who.AGENT, {"title": "t", "text": "x"}),
    Row("DELETE", f"{_DESK}/canned/{{id}}", Who.AGENT),
    Row("GET", f"{_DESK}/proposals", Who.VIEWER),
    Row("GET", f"{_DESK}/proposals/count", Who.VIEWER),
    Row("POST", f"{_DESK}/proposals", Who.AGENT, _PROPOSAL),
    Row("POST", f"{_ENTRY}/approve", Who.AGENT, _PROPOSAL),
    Row("POST", f"{_ENTRY}/decline", Who.AGENT, {}),
    Row("GET", f"{_DESK}/entries", Who.VIEWER),
    Row("DELETE", f"{_DESK}/entries/{{knowledge_base}}/{{id}}", Who.AGENT),
    Row("GET", f"{_DESK}/unanswered", Who.VIEWER),
    Row("GET", f"{_DESK}/learned.jsonl", Who.ADMIN),
    Row("GET", f"{_DESK}/agents", Who.VIEWER),
    Row("POST", f"{_DESK}/agents", Who.ADMIN, _PERSON),
    Row("PATCH", f"{_DESK}/agents/{{name}}", Who.ADMIN, {"capacity": 1}),
    Row("GET", f"{_DESK}/teams", Who.VIEWER),
    Row("PUT", f"{_DESK}/teams/{{name}}", Who.ADMIN, {}),
    Row("DELETE", f"{_DESK}/teams/{{name}}", Who.ADMIN),
    Row("GET", f"{_DESK}/audit", Who.ADMIN),
    Row("GET", f"{_DESK}/reports", Who.VIEWER),
)
