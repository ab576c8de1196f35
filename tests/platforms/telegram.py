"""Telegram's Bot API on loopback: updates, messages, files, and the errors that bots meet.

python-telegram-bot and aiogram vouch for it in tests/integration/test_telegram_stand_in.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.platforms.telegram_forum import Groups
from tests.platforms.telegram_texts import Fault, read_extras, read_object, read_text

TOKEN = "4242:AAstand-in-secret"
BOT: dict[str, Any] = {"id": 4242, "is_bot": True, "first_name": "Shop", "username": "shop_bot"}
CUSTOMER: dict[str, Any] = {"id": 7, "is_bot": False, "first_name": "Ann", "language_code": "en"}
PRIVATE: dict[str, Any] = {"id": 7, "type": "private", "first_name": "Ann"}
GROUP: dict[str, Any] = {"id": -100, "type": "supergroup", "title": "Owners"}
FORUM: dict[str, Any] = {"id": -200, "type": "supergroup", "title": "Help", "is_forum": True}

ALL_SECOND, CHAT_SECOND, GROUP_MINUTE = 30, 1, 20


@dataclass
class Sent:
    """A message of the bot's, as it stands now."""

    message: dict[str, Any]
    #: As it was given, before entities were read.
    source: str
    at: float
    versions: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return str(self.message["text"])

    @property
    def chat(self) -> int:
        return int(self.message["chat"]["id"])

    @property
    def buttons(self) -> dict[str, str]:
        """Label → callback data."""
        rows = (self.message.get("reply_markup") or {}).get("inline_keyboard", [])
        return {button["text"]: button["callback_data"] for row in rows for button in row}


class BotApi(Groups):
    """One bot on one Bot API server. `says`, `edits` and `presses` are what people do."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.token = TOKEN
        #: True: 429 beyond 30 messages a second, 1 a second in a chat, 20 a minute in a group.
        self.limits = False
        #: Methods that this server does not know.
        self.lacks: set[str] = set()
        #: Raised by the next calls of a method.
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        #: Method and parameters of every call.
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[Sent] = []
        self.files: dict[str, bytes] = {}
        self.webhook: dict[str, Any] = {}
        #: Statuses that the webhook answered with.
        self.pushed: list[int] = []
        self.updates: list[dict[str, Any]] = []
        #: Answers to polls that held updates.
        self.handed_out = 0
        self._update_ids = itertools.count(1000)
        self._message_ids: dict[int, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self._messages: dict[tuple[int, int], dict[str, Any]] = {}
        self._news = asyncio.Condition()
        self._polls = 0
        self._sent_at: dict[object, list[float]] = defaultdict(list)
        self._pusher: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._answer)
        app.router.add_get("/file/bot{token}/{path:.*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop_pushing()
        assert self._runner is not None
        await self._runner.cleanup()

    # What people do

    async def says(
        self,
        text: str | None,
        *,
        chat: Mapping[str, Any] = PRIVATE,
        sender: Mapping[str, Any] = CUSTOMER,
        **fields: Any,
    ) -> dict[str, Any]:
        """Somebody writes; returns the message."""
        message = self._new_message(chat, sender, text, **fields)
        await self.tell({"message": message})
        return message

    async def edits(self, message: Mapping[str, Any], text: str) -> None:
        """Somebody changes a message."""
        await self.tell(
            {"edited_message": {**message, "text": text, "edit_date": int(time.time())}}
        )

    async def presses(
        self, shown: Sent, label: str, *, sender: Mapping[str, Any] = CUSTOMER
    ) -> None:
        """Somebody presses a button under a message of the bot's."""
        press = {
            "id": f"press-{next(self._update_ids)}",
            "from": sender,
            "chat_instance": "1",
            "message": shown.message,
            "data": shown.buttons[label],
        }
        await self.tell({"callback_query": press})

    async def tell(self, news: Mapping[str, Any]) -> int:
        """Queue an update, whatever it holds; returns its number."""
        update_id = next(self._update_ids)
        await self.queue({"update_id": update_id, **news})
        return update_id

    async def queue(self, update: Any) -> None:
        """Queue exactly this."""
        async with self._news:
            self.updates.append(update)
            self._news.notify_all()

    async def until(self, happened: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something that can be seen here."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(happened)

    async def until_sent(self, count: int, seconds: float = 60.0) -> list[Sent]:
        """Wait until the bot has sent so many messages."""
        await self.until(lambda: len(self.sent) >= count, seconds)
        return self.sent

    async def until_called(self, method: str, count: int = 1, seconds: float = 60.0) -> None:
        """Wait until a method was called so often."""
        await self.until(lambda: self.count(method) >= count, seconds)

    async def until_confirmed(self, seconds: float = 60.0) -> None:
        """Wait until the bot has confirmed every update."""
        await self.until(lambda: not self.updates, seconds)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(called == method for called, _ in self.calls)

    # HTTP

    async def _answer(self, request: web.Request) -> web.Response:
        method, given = request.match_info["method"], await _parameters(request)
        try:
            if request.match_info["token"] != self.token:
                raise Fault(401, "Unauthorized")
            async with self._news:
                self.calls.append((method, given))
                self._news.notify_all()
            handler: Callable[..., Awaitable[Any]] | None = getattr(self, f"_on_{method}", None)
            if handler is None or method in self.lacks:
                raise Fault(404, "Not Found")
            if self.faults[method]:
                raise self.faults[method].pop(0)
            return web.json_response({"ok": True, "result": await handler(given)})
        except Fault as fault:
            answer = {"ok": False, "error_code": fault.status, "description": fault.description}
            if fault.parameters:
                answer["parameters"] = fault.parameters
            return web.json_response(answer, status=fault.status)

    async def _file(self, request: web.Request) -> web.Response:
        content = self.files.get(request.match_info["path"])
        known = content is not None and request.match_info["token"] == self.token
        return web.Response(body=content) if known else web.Response(status=404)

    # Methods

    async def _on_getMe(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return BOT | {"can_join_groups": True, "can_read_all_group_messages": False,
                      "supports_inline_queries": False}  # fmt: skip

    async def _on_getUpdates(self, given: Mapping[str, Any]) -> list[Any]:
        if self.webhook:
            raise Fault(409, "Conflict: can't use getUpdates method while webhook is active; "
                        "use deleteWebhook to delete the webhook first")  # fmt: skip
        offset = int(given.get("offset") or 0)
        limit, timeout = int(given.get("limit") or 100), float(given.get("timeout") or 0)
        async with self._news:
            self._polls += 1
            mine = self._polls
            # The one that waits is told to go.
            self.updates = [one for one in self.updates if not _older(one, offset)]
            self._news.notify_all()
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait_for(lambda: self.updates or self._polls != mine)
            except TimeoutError:
                return []
            if self._polls != mine:
                raise Fault(409, "Conflict: terminated by other getUpdates request; make sure "
                            "that only one bot instance is running")  # fmt: skip
            self.handed_out += 1
            self._news.notify_all()
            return self.updates[:limit]

    async def _on_setWebhook(self, given: Mapping[str, Any]) -> bool:
        url = str(given.get("url") or "")
        if url and not url.startswith(("https://", "http://127.0.0.1")):
            raise Fault(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        await self._stop_pushing()
        self.webhook = dict(given) if url else {}
        if url:
            self._pusher = asyncio.create_task(self._push())
        return True

    async def _on_deleteWebhook(self, given: Mapping[str, Any]) -> bool:
        return await self._on_setWebhook({})

    async def _on_sendMessage(self, given: Mapping[str, Any]) -> dict[str, Any]:
        chat = self._chat(given)
        text, entities = read_text(given)
        thread = given.get("message_thread_id")
        if thread is not None and int(thread) == 1:
            raise Fault(400, "Bad Request: message thread not found")
        self._check_rate(chat)
        message = self._new_message(chat, BOT, text, **read_extras(given, entities))
        if thread is not None:
            message |= {"message_thread_id": int(thread), "is_topic_message": True}
        if (reply := read_object(given.get("reply_parameters"))) is not None:
            self._hang_under(message, reply)
        async with self._news:
            self.sent.append(Sent(message, str(given["text"]), time.monotonic()))
            self._news.notify_all()
        return message

    async def _on_editMessageText(self, given: Mapping[str, Any]) -> dict[str, Any]:
        chat, number = self._chat(given), int(given["message_id"])
        shown = self._shown(chat["id"], number)
        if shown is None:
            raise Fault(400, "Bad Request: message to edit not found")
        text, entities = read_text(given)
        extras = read_extras(given, entities)
        if text == shown.text and extras.get("reply_markup") == shown.message.get("reply_markup"):
            raise Fault(400, "Bad Request: message is not modified: specified new message content "
                        "and reply markup are exactly the same")  # fmt: skip
        shown.versions.append(shown.text)
        # Buttons that are not given again are gone.
        for name in ("reply_markup", "entities"):
            shown.message.pop(name, None)
        shown.message.update({"text": text, "edit_date": int(time.time()), **extras})
        return shown.message

    async def _on_sendChatAction(self, given: Mapping[str, Any]) -> bool:
        self._chat(given)
        return True

    async def _on_answerCallbackQuery(self, given: Mapping[str, Any]) -> bool:
        return True

    async def _on_getFile(self, given: Mapping[str, Any]) -> dict[str, Any]:
        file_id = str(given.get("file_id"))
        if (content := self.files.get(file_id)) is None:
            raise Fault(400, "Bad Request: invalid file_id")
        return {"file_id": file_id, "file_unique_id": file_id, "file_size": len(content),
                "file_path": file_id}  # fmt: skip

    # Inside

    def _new_message(
        self, chat: Mapping[str, Any], sender: Mapping[str, Any], text: str | None, **fields: Any
    ) -> dict[str, Any]:
        self._chats[chat["id"]] = chat
        number = next(self._message_ids[chat["id"]])
        message = {"message_id": number, "date": int(time.time()), "chat": chat, "from": sender}
        message |= fields if text is None else {"text": text, **fields}
        self._messages[chat["id"], number] = message
        return message

    def _shown(self, chat_id: int, number: int) -> Sent | None:
        places = ((one.chat, one.message["message_id"]) for one in self.sent)
        return next(
            (
                one
                for one, place in zip(self.sent, places, strict=True)
                if place == (chat_id, number)
            ),
            None,
        )

    def _hang_under(self, message: dict[str, Any], reply: Mapping[str, Any]) -> None:
        chat_id = int(reply.get("chat_id") or message["chat"]["id"])
        original = self._messages.get((chat_id, int(reply["message_id"])))
        if original is not None:
            message["reply_to_message"] = original
        elif not reply.get("allow_sending_without_reply"):
            raise Fault(400, "Bad Request: message to be replied not found")

    def _check_rate(self, chat: Mapping[str, Any]) -> None:
        if not self.limits:
            return
        now, number = time.monotonic(), chat["id"]
        bounds = [("all", ALL_SECOND, 1.0), (number, CHAT_SECOND, 1.0)]
        if number < 0:
            bounds.append((("group", number), GROUP_MINUTE, 60.0))
        for key, most, seconds in bounds:
            recent = self._sent_at[key] = [at for at in self._sent_at[key] if now - at < seconds]
            if len(recent) >= most:
                wait = max(1, round(seconds - (now - recent[0])))
                raise Fault(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        for key, _, _ in bounds:
            self._sent_at[key].append(now)

    async def _push(self) -> None:
        """Give each update to the webhook until it is taken, in order."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": str(self.webhook.get("secret_token", ""))}
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                async with self._news:
                    await self._news.wait_for(lambda: self.updates)
                    update = self.updates[0]
                status = await self._push_one(session, update)
                async with self._news:
                    self.pushed.append(status)
                    if 200 <= status < 300:
                        self.updates.remove(update)
                    self._news.notify_all()
                if not 200 <= status < 300:
                    await asyncio.sleep(0.05)

    async def _push_one(self, session: aiohttp.ClientSession, update: Any) -> int:
        try:
            async with session.post(self.webhook["url"], json=update) as answer:
                body = await answer.read()
                if answer.ok and answer.content_type == "application/json" and body:
                    # The answer may hold a call.
                    call = json.loads(body)
                    if method := call.pop("method", None):
                        self.calls.append((method, call))
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def _stop_pushing(self) -> None:
        if self._pusher is not None:
            self._pusher.cancel()
            await asyncio.gather(self._pusher, return_exceptions=True)
            self._pusher = None


async def _parameters(request: web.Request) -> dict[str, Any]:
    """By query, form or JSON, as the Bot API takes them."""
    if request.content_type == "application/json":
        return {**request.query, **await request.json()}
    return {**request.query, **await request.post()}


def _older(update: Any, offset: int) -> bool:
    number = update.get("update_id") if isinstance(update, dict) else None
    return isinstance(number, int) and number < offset
