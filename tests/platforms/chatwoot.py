"""A Chatwoot on loopback: conversations with statuses, an agent bot's calls, events pushed to it.

Forms and rules are those of chatwoot/chatwoot: webhook_data of messages and conversations, what
an agent bot may call, lib/webhooks/trigger.rb (signature, a conversation is opened where the bot
fails), the states of a conversation. No server can be had: only its sources vouch for this.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

TOKEN = "bot-token-of-the-stand-in"
SECRET = "secret-of-the-stand-in"
ACCOUNT = 1
WIDGET, WHATSAPP = "Channel::WebWidget", "Channel::Whatsapp"
CUSTOMER: dict[str, Any] = {"id": 14, "name": "little-haze-776", "avatar": "", "type": "contact"}
ANN: dict[str, Any] = {"id": 5, "name": "Ann", "email": "ann@acme.example", "type": "user"}
BOT: dict[str, Any] = {"id": 3, "name": "kfbot", "type": "agent_bot"}
INCOMING, OUTGOING = "incoming", "outgoing"
#: Status, headers and body of an answer.
Fault = tuple[int, dict[str, str], Any]


@dataclass
class Conversation:
    """A conversation as people see it there."""

    id: int
    account: int = ACCOUNT
    inbox: str = WIDGET
    status: str = "pending"
    assignee: dict[str, Any] | None = None
    team: int | None = None
    typing: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    updated_at: float = field(default_factory=time.time)

    def texts(self, *, private: bool = False) -> list[str]:
        """What the bot wrote: to the customer, or to the agents."""
        return [
            one["content"]
            for one in self.messages
            if one["message_type"] == OUTGOING
            and one["private"] is private
            and (one["sender"] or {}).get("type") == "agent_bot"
        ]


class Chatwoot:
    """One installation with one agent bot. `says`, `answers`, `sets` are what people do."""

    def __init__(self) -> None:
        self.url = ""
        #: Where the bot's events go, as it is entered under Settings → Bots.
        self.outgoing_url = ""
        #: None: an old server, which signs nothing.
        self.secret: str | None = SECRET
        #: Old servers let bots do less.
        self.lacks: set[str] = set()
        #: What the next calls of an action are answered with.
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        #: Called before the next call of an action is answered.
        self.before: dict[str, list[Callable[[], Any]]] = defaultdict(list)
        #: What the bot called, in order: conversation, action, body.
        self.calls: list[tuple[int, str, dict[str, Any]]] = []
        self.conversations: dict[int, Conversation] = {}
        #: Statuses that the bot answered events with.
        self.pushed: list[int] = []
        self.is_telling = True
        self._ids = itertools.count(100)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._news = asyncio.Condition()
        self._pushing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        path = "/api/v1/accounts/{account}/conversations/{number}/{action}"
        app.router.add_post(path, self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*self._pushing, return_exceptions=True)
        assert self._session is not None
        assert self._runner is not None
        await self._session.close()
        await self._runner.cleanup()

    # What people do

    def conversation(self, number: int = 10, **fields: Any) -> Conversation:
        """The conversation of this number; a new one waits for the bot."""
        return self.conversations.setdefault(number, Conversation(number, **fields))

    async def says(
        self, text: str, number: int = 10, *, sender: dict[str, Any] = CUSTOMER, **fields: Any
    ) -> dict[str, Any]:
        """The customer writes; what was resolved is the bot's again."""
        conversation = self.conversation(number)
        if conversation.status == "resolved":
            await self.sets("pending", number)
        message = self._add(conversation, INCOMING, text, sender, **fields)
        await self.tell("message_created", self.payload(message, conversation))
        return message

    async def answers(
        self, text: str, number: int = 10, *, sender: dict[str, Any] | None = ANN, **fields: Any
    ) -> dict[str, Any]:
        """Somebody writes to the customer, or a note."""
        conversation = self.conversation(number)
        message = self._add(conversation, OUTGOING, text, sender, **fields)
        await self.tell("message_created", self.payload(message, conversation))
        return message

    async def sets(self, status: str, number: int = 10) -> None:
        """Somebody changes the status."""
        conversation = self.conversation(number)
        if status == conversation.status:
            return
        conversation.status, conversation.updated_at = status, time.time()
        # That it is pending no bot was told before conversation_status_changed.
        if status in ("open", "resolved"):
            name = "conversation_opened" if status == "open" else "conversation_resolved"
            await self.tell(name, self.data_of(conversation))

    async def changes(self, message: dict[str, Any], number: int = 10, **fields: Any) -> None:
        """A message changes: its content, its attributes."""
        message |= fields
        conversation = self.conversation(number)
        await self.tell("message_updated", self.payload(message, conversation))

    async def picks(self, title: str, number: int = 10) -> None:
        """The customer picks one of the options that were shown last."""
        conversation = self.conversation(number)
        shown = next(m for m in reversed(conversation.messages) if m["content_attributes"])
        item = next(i for i in shown["content_attributes"]["items"] if i["title"] == title)
        attributes = {**shown["content_attributes"], "submitted_values": [item]}
        await self.changes(shown, number, content_attributes=attributes)

    # What comes of it

    async def until(self, is_so: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something is so, looking at every call of the bot's."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(is_so)

    async def until_written(self, count: int, number: int = 10) -> list[str]:
        """Until the bot wrote so much to the customer; returns it."""
        conversation = self.conversation(number)
        await self.until(lambda: len(conversation.texts()) >= count)
        return conversation.texts()

    async def told(self) -> None:
        """Until the bot has answered every event."""
        while self._pushing:
            await asyncio.gather(*self._pushing)

    # The wire

    def data_of(self, conversation: Conversation) -> dict[str, Any]:
        """`webhook_data` of a conversation."""
        return {
            "additional_attributes": {},
            "can_reply": True,
            "channel": conversation.inbox,
            "contact_inbox": {"id": 12, "contact_id": CUSTOMER["id"], "source_id": "405f1d30"},
            "id": conversation.id,
            "inbox_id": 1,
            "messages": [
                {**m, "message_type": 0 if m["message_type"] == INCOMING else 1,
                 "account_id": conversation.account, "conversation_id": conversation.id}
                for m in conversation.messages[-1:]
            ],
            "labels": [],
            "meta": {"sender": CUSTOMER, "assignee": conversation.assignee, "hmac_verified": False},
            "status": conversation.status,
            "unread_count": 1,
            "timestamp": int(conversation.updated_at),
            "updated_at": conversation.updated_at,
        }  # fmt: skip

    def payload(self, message: dict[str, Any], conversation: Conversation) -> dict[str, Any]:
        """`webhook_data` of a message."""
        return {
            **message,
            "account": {"id": conversation.account, "name": "Acme Inc"},
            "conversation": self.data_of(conversation),
            "inbox": {"id": 1, "name": "Acme Support"},
            "source_id": None,
        }

    async def tell(self, name: str, payload: dict[str, Any]) -> None:
        """Push an event, as the server's job does: at once, but nobody waits for it."""
        if self.is_telling and self.outgoing_url:
            task = asyncio.create_task(self._push({**payload, "event": name}))
            self._pushing.add(task)
            task.add_done_callback(self._pushing.discard)

    def headers(self, body: bytes) -> dict[str, str]:
        """As lib/webhooks/trigger.rb makes them."""
        headers = {"Content-Type": "application/json", "X-Chatwoot-Delivery": str(uuid.uuid4())}
        if self.secret is None:
            return headers
        stamp = str(int(time.time()))
        signed = hmac.new(self.secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
        return headers | {
            "X-Chatwoot-Timestamp": stamp,
            "X-Chatwoot-Signature": f"sha256={signed.hexdigest()}",
        }

    async def _push(self, payload: dict[str, Any]) -> None:
        body = json.dumps(payload).encode()
        status = 0
        try:
            assert self._session is not None
            async with self._session.post(
                self.outgoing_url, data=body, headers=self.headers(body), timeout=_FIVE_SECONDS
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            pass
        self.pushed.append(status)
        place = payload.get("conversation")
        if not 200 <= status < 300 and place and self.conversation(place["id"]).status == "pending":
            await self.sets("open", place["id"])
        await self._notify()

    def _add(
        self,
        conversation: Conversation,
        kind: str,
        text: str,
        sender: dict[str, Any] | None,
        **fields: Any,
    ) -> dict[str, Any]:
        message = {
            "id": next(self._ids),
            "content": text,
            "message_type": kind,
            "content_type": "text",
            "content_attributes": {},
            "additional_attributes": {},
            "private": False,
            "sender": sender,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        } | fields
        conversation.messages.append(message)
        return message

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _answer(self, request: web.Request) -> web.Response:
        number, action = int(request.match_info["number"]), request.match_info["action"]
        body = await request.json()
        self.calls.append((number, action, body))
        for happens in self.before.pop(action, []):
            await happens()
        try:
            if self.faults[action]:
                status, headers, said = self.faults[action].pop(0)
                return web.json_response(said, status=status, headers=headers)
            return await self._act(request, number, action, body)
        finally:
            await self._notify()

    async def _act(
        self, request: web.Request, number: int, action: str, body: dict[str, Any]
    ) -> web.Response:
        if request.headers.get("api_access_token") != TOKEN:
            return web.json_response({"error": "Invalid Access Token"}, status=401)
        if action in self.lacks:
            said = "Access to this endpoint is not authorized for bots"
            return web.json_response({"error": said}, status=401)
        conversation = self.conversations.get(number)
        account = int(request.match_info["account"])
        if conversation is None or conversation.account != account:
            return web.json_response({"error": "Resource could not be found"}, status=404)
        if action == "messages":
            return await self._create(conversation, body)
        if action == "toggle_status":
            await self.sets(body["status"], number)
            payload = {"success": True, "conversation_id": number, "current_status": body["status"]}
            return web.json_response({"meta": {}, "payload": payload})
        if action == "assignments":
            conversation.team = body["team_id"]
            return web.json_response({"id": body["team_id"], "name": "support"})
        if action == "toggle_typing_status":
            conversation.typing.append(body["typing_status"])
            return web.Response()
        return web.json_response({"error": "not found"}, status=404)

    async def _create(self, conversation: Conversation, body: dict[str, Any]) -> web.Response:
        kind, attributes = body.get("content_type", "text"), body.get("content_attributes", {})
        items = attributes.get("items", [])
        if kind == "input_select" and (
            not items or any(set(item) - {"title", "value"} for item in items)
        ):
            return web.json_response({"message": "At least one item is required."}, status=422)
        if not 0 < len(body["content"]) <= 150_000:
            return web.json_response({"message": "Content is too long"}, status=422)
        message = self._add(
            conversation,
            OUTGOING,
            body["content"],
            BOT,
            private=body["private"],
            content_type=kind,
            content_attributes=attributes,
        )
        # The bot is told of its own words, too.
        await self.tell("message_created", self.payload(message, conversation))
        return web.json_response(message)


_FIVE_SECONDS = aiohttp.ClientTimeout(total=5)
