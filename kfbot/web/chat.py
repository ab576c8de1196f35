"""`/chat`: the customer's page; messages come in by POST, everything goes out by push."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from kfbot.adapter import ChannelAdapter, WebhookRequest
from kfbot.application import Application
from kfbot.conversation import Conversation, Language, bot_may_speak
from kfbot.errors import StoreUnavailable
from kfbot.knowledge_base import NOTHING
from kfbot.messages import ConversationId
from kfbot.store.notices import (
    chat_notice,
    conversation_notice,
    draft_notice,
    typing_notice,
)
from kfbot.store.transcripts import TranscriptMessage
from kfbot.texts import texts
from kfbot.web.access import Refused, Visitors, check_same_origin
from kfbot.web.api import number
from kfbot.web.limits import Streams
from kfbot.web.senders import Proxies

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
WEB_CHANNEL = "web"
#: A sign of life for proxies that cut silent connections.
HEARTBEAT_SECONDS = 15.0
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
_EXAMPLES = 3


class Chat:
    """The handlers of the chat page."""

    def __init__(self, application: Application, visitors: Visitors) -> None:
        self._application = application
        self._visitors = visitors
        self._proxies = Proxies(application.settings.web.trusted_proxies)
        #: Closed when the server stops: open pushes end, and pages connect again.
        self.streams = Streams()

    def routes(self) -> list[web.RouteDef]:
        """The page, its files, and what it calls."""
        return [
            web.get("/chat", self.page),
            web.get("/chat/static/{name}", self.file),
            web.get("/widget.js", self.widget),
            web.get("/chat/config", self.config),
            web.post("/chat/messages", self.message),
            web.get("/chat/events", self.events, allow_head=False),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The chat page; a new visitor gets an id."""
        response = web.FileResponse(
            STATIC / "chat.html",
            headers={"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-store"},
        )
        self._visitors.welcome(request, response)
        return response

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A script or style of the page."""
        name = request.match_info["name"]
        known = {file.name for file in STATIC.iterdir() if file.suffix in (".js", ".css", ".svg")}
        if name not in known:
            raise web.HTTPNotFound
        return web.FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    async def widget(self, request: web.Request) -> web.StreamResponse:
        """The script that puts a chat button on the operator's own pages."""
        return web.FileResponse(STATIC / "widget.js", headers={"Cache-Control": "no-cache"})

    async def config(self, request: web.Request) -> web.Response:
        """The page's words, in the language asked for."""
        language: Language = "zh" if request.query.get("lang", "").startswith("zh") else "en"
        says = texts(language)
        scope = self._application.scopes.get(WEB_CHANNEL, NOTHING)
        examples = await self._application.knowledge.examples(
            language, _EXAMPLES, names=scope.names, where=scope.where
        )
        return web.json_response(
            {
                "title": says.chat_title,
                "greeting": says.chat_greeting,
                "examples": list(examples),
                "languages": ["zh", "en"],
            }
        )

    async def message(self, request: web.Request) -> web.Response:
        """Store what the customer wrote or pressed."""
        check_same_origin(request)
        visitor = self._known(request)
        if request.content_type != "application/json":
            raise Refused(415, "send Content-Type: application/json")
        reply = await self._adapter().receive_webhook(
            WebhookRequest(
                method="POST",
                query={"conversation": visitor},
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.read(),
            )
        )
        await self._application.backlog.admit(reply.events)
        for event in reply.events:
            await self._application.inbox.accept(event)
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Push the transcript after Last-Event-ID, then what comes, until either side leaves."""
        visitor = self._known(request)
        with self.streams.opened(visitor, self._proxies.stranger_of(request)) as end:
            return await self._pushed(request, visitor, end)

    async def _pushed(
        self, request: web.Request, visitor: str, end: asyncio.Event
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                # nginx would otherwise collect the events.
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        seen = request.headers.get("Last-Event-ID") or request.query.get("after") or ""
        push = _Push(self._application, response, visitor, _Mark.read(seen))
        try:
            await push.run(end)
        except ConnectionResetError:
            pass
        except StoreUnavailable as error:
            # The stream ends; the page asks again for what it has not seen.
            logger.error("push broken off: %s", error, extra={"event": "store_unavailable"})
        return response

    def _known(self, request: web.Request) -> str:
        visitor = self._visitors.known(request)
        if visitor is None:
            raise Refused(401, "open /chat first: it gives you a visitor id")
        return visitor

    def _adapter(self) -> ChannelAdapter:
        return self._application.channels[WEB_CHANNEL]


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far a page has read: the id of an event, "<conversation>-<message>".

    Messages of one conversation are numbered upwards. Those of the next one, after an erasure,
    may get the same numbers again; a conversation never does.
    """

    conversation: int = 0
    message: int = 0

    @classmethod
    def read(cls, text: str) -> _Mark:
        """What an id says; anything else says that nothing was read."""
        conversation, _, message = text.partition("-")
        return cls(number(conversation) or 0, number(message) or 0)

    def __str__(self) -> str:
        return f"{self.conversation}-{self.message}"


class _Push:
    """One open page: what it has seen, and what it gets next."""

    def __init__(
        self,
        application: Application,
        response: web.StreamResponse,
        visitor: str,
        seen: _Mark,
    ) -> None:
        self._application = application
        self._response = response
        self._address = ConversationId(WEB_CHANNEL, visitor)
        self._seen = seen
        self._owner: tuple[str, str | None] | None = None
        #: What the page shows of an answer that is being written.
        self._draft = ""

    async def run(self, closing: asyncio.Event) -> None:
        conversation = await self._application.conversations.find(self._address)
        notice = (
            conversation_notice(conversation.id) if conversation else chat_notice(self._address)
        )
        known = conversation.id if conversation else 0
        if self._seen.conversation not in (0, known):
            # What the page shows was erased, while it was open or away.
            self._owner, self._draft = None, ""
            await self._write("erased", {})
        if self._seen.conversation != known:
            self._seen = _Mark(known)
        typing = typing_notice(known)
        with (
            self._application.changes.watching(notice, draft_notice(known)) as event,
            self._application.changes.watching(typing) as typed,
        ):
            current = await self._catch_up()
            await self._write("ready", {})
            while current == known:
                if await self._changed(event, typed, closing):
                    return
                if typed.is_set():
                    typed.clear()
                    await self._write("typing", {})
                event.clear()
                current = await self._catch_up()
        await self.run(closing)

    async def _changed(self, *events: asyncio.Event) -> bool:
        """Wait for one of these; True where it was the last: the server stops."""
        waits = [asyncio.create_task(event.wait()) for event in events]
        closing = events[-1]
        try:
            while True:
                done, _ = await asyncio.wait(
                    waits, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return closing.is_set()
                await self._response.write(b": still here\n\n")
        finally:
            for wait in waits:
                wait.cancel()

    async def _catch_up(self) -> int:
        """Write what is new in the conversation of the mark.

        Returns the number of that which is there now, 0 for none.
        """
        conversation = await self._application.conversations.find(self._address)
        if conversation is None:
            return 0
        if conversation.id != self._seen.conversation:
            return conversation.id
        # Before the messages: one that takes its place is then among them.
        draft = await self._application.transcripts.draft(conversation.id)
        messages = await self._application.transcripts.transcript(
            conversation.id, after=self._seen.message
        )
        for message in messages:
            self._seen = _Mark(conversation.id, message.id)
            await self._write("message", _page_message(message), self._seen)
        await self._tell_owner(conversation)
        if any(message.role == "bot" for message in messages):
            # The page has put it in the place of what it showed.
            self._draft = draft = ""
        if draft != self._draft:
            self._draft = draft
            await self._write("draft", {"text": draft})
        elif messages and messages[-1].role == "customer" and bot_may_speak(conversation):
            await self._write("typing", {})
        return conversation.id

    async def _tell_owner(self, conversation: Conversation) -> None:
        """Write whose the conversation is, where that is news."""
        owner = (str(conversation.state), conversation.agent)
        if owner == self._owner:
            return
        self._owner, (state, agent) = owner, owner
        if agent is not None:
            agent = await self._application.desk.agents.shown_as(agent)
        await self._write("state", {"state": state, "agent": agent})

    async def _write(self, name: str, data: dict[str, Any], mark: _Mark | None = None) -> None:
        lines = [f"event: {name}", f"data: {json.dumps(data, ensure_ascii=False)}"]
        if mark is not None:
            lines.insert(0, f"id: {mark}")
        await self._response.write(("\n".join(lines) + "\n\n").encode())


def _page_message(message: TranscriptMessage) -> dict[str, Any]:
    buttons = [
        {"id": button["token"], "label": button["label"], "action": button["action"]}
        for button in message.extras.get("buttons", ())
    ]
    offers_choices = any(button["action"] == "choice" for button in buttons)
    return {
        "id": message.id,
        "role": message.role,
        "name": message.sender_name,
        "kind": message.kind,
        "text": message.text,
        "created_at": message.created_at.isoformat(),
        "client_id": message.platform_id if message.role == "customer" else None,
        "citations": message.extras.get("citations", []),
        "choices": buttons if offers_choices else [],
        "feedback": [] if offers_choices else buttons,
    }
