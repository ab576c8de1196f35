"""Customers on every platform that calls us: each stand-in signs as the platform does."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from kfbot.cli.load_driving import Line, NotTaken, Reply
from kfbot.cli.load_lines import posted
from tests.platforms import chatwoot, feishu, openim, slack, telegram, wecom
from tests.platforms.feishu_forms import sealed
from tests.platforms.wecom_envelopes import AES_KEY, CORP, TOKEN, seal, xml

#: The platforms' own ids of conversations begin here: shorter ones would be no ids there.
FIRST = 1_000_000
Hear = Callable[[int, Reply], None]


class StandInLine(Line):
    """A line through a stand-in, which is opened before the server whose settings name it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.url = ""
        #: What is sent again is sent as it was.
        self._made: dict[int, Any] = {}
        self._stack = AsyncExitStack()
        self._http: aiohttp.ClientSession | None = None

    @abstractmethod
    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        """Open the stand-in; returns the settings of the channel that uses it."""

    async def prepare(self, url: str) -> dict[str, Any]:
        """Open the stand-in; `url` is where the server will be called. The channel's settings."""
        self.url = url
        return await self.stand_in(self._stack)

    async def release(self) -> None:
        """Close the stand-in."""
        await self._stack.aclose()

    async def open(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        assert self._http is not None
        await self._http.close()

    def hear(self, chat: int, reply: Reply) -> None:
        """The stand-in took a message."""
        self.on_reply(chat - FIRST, reply)

    async def post(self, body: bytes, headers: dict[str, str], **options: Any) -> bytes:
        """Post what the platform would; see `posted`."""
        assert self._http is not None
        return await posted(self._http, self.url, body, headers, **options)

    def once(self, event: int, make: Callable[[], Any]) -> Any:
        """What is sent under this number, made the first time."""
        if event not in self._made:
            self._made[event] = make()
        return self._made[event]

    def taken(self, event: int) -> None:
        """It is not sent again."""
        self._made.pop(event, None)


class SlackLine(StandInLine):
    """Direct messages, by the Events API over HTTP."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(slack.Slack):
            def _api_chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:
                answer = super()._api_chat_postMessage(given)
                hear(int(given["channel"][1:]), Reply(given.get("text", "")))
                return answer

        self._slack = await stack.enter_async_context(Heard())
        self._slack.request_url = self.url
        # Again is for the driver to say, as for the others.
        self._slack.tries, self._slack.ack_seconds = 1, 30.0
        return {
            "platform": "slack",
            "bot_token": slack.BOT_TOKEN,
            "signing_secret": slack.SIGNING_SECRET,
            "api_base": self._slack.api_base,
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        number = FIRST + chat
        told = self.once(event, lambda: self._slack.says(text, f"D{number}", user=f"U{number}"))
        if not await self._slack.tell(told, f"Ev{event:08}"):
            raise NotTaken("not acknowledged by HTTP")
        self.taken(event)


class TelegramLine(StandInLine):
    """Private chats, by webhook."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(telegram.BotApi):
            async def _on_sendMessage(self, given: Any) -> dict[str, Any]:
                message = await super()._on_sendMessage(given)
                hear(message["chat"]["id"], Reply(message["text"]))
                return message

        self._api = await stack.enter_async_context(Heard())
        return {
            "platform": "telegram",
            "token": telegram.TOKEN,
            "api_base": self._api.url,
            "mode": "webhook",
            "webhook_secret": "quiet",
            "webhook_url": self.url,
            # The load is one person many times over in the eyes of nobody else.
            "rate_per_second": 1000.0,
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        number = FIRST + chat
        person = {"id": number, "is_bot": False, "first_name": "Ann"}
        where = {"id": number, "type": "private", "first_name": "Ann"}
        message = self.once(event, lambda: self._api._new_message(where, person, text))
        body = json.dumps({"update_id": FIRST + event, "message": message})
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": "quiet",
        }
        await self.post(body.encode(), headers)
        self.taken(event)


class FeishuLine(StandInLine):
    """Private chats, encrypted and signed."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(feishu.Feishu):
            def _write(self, given: Any, chat: str, **place: Any) -> dict[str, Any]:
                message = super()._write(given, chat, **place)
                content = json.loads(given["content"])
                text = content.get("text") or _markdown(content)
                hear(int(chat.removeprefix("oc_")), Reply(text, given.get("uuid", "")))
                return message

        self._feishu = await stack.enter_async_context(Heard())
        return self._feishu.section()

    async def say(self, chat: int, text: str, event: int) -> None:
        number = FIRST + chat

        def make() -> Any:
            told = self._feishu.says(text, f"oc_{number}", sender=f"ou_{number}")
            told["event"]["message"]["chat_type"] = "p2p"
            return told

        body, headers = sealed(self.once(event, make), self._feishu.encrypt_key)
        await self.post(body, headers)
        self.taken(event)


def _markdown(card: dict[str, Any]) -> str:
    """The words of a card."""
    return "\n".join(one.get("content", "") for one in card["elements"] if "content" in one)


class WeComLine(StandInLine):
    """Customers of a service account: the platform rings, the bot fetches."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(wecom.WeCom):
            def _show(self, given: Any, code: str) -> None:
                super()._show(given, code)
                shown = self.sent[-1]
                hear(int(shown.to[2:]), Reply(shown.text, given["msgid"]))

        self._wecom = await stack.enter_async_context(Heard())
        return {
            "platform": "wecom",
            "api_base": self._wecom.url,
            "corp_id": CORP,
            "secret": wecom.SECRET,
            "token": TOKEN,
            "encoding_aes_key": AES_KEY,
            "kf_accounts": [wecom.ACCOUNT],
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        if event not in self._made:
            self._made[event] = True
            await self._wecom.writes(text, customer=f"wm{FIRST + chat}", ring=False)
        token = f"ENC{event}"
        self._wecom._callback_tokens.add(token)
        news = xml(
            ToUserName=CORP,
            CreateTime=0,
            MsgType="event",
            Event="kf_msg_or_event",
            Token=token,
            OpenKfId=wecom.ACCOUNT,
        )
        envelope = seal(news)
        await self.post(envelope.body, {"Content-Type": "text/xml"}, params=envelope.query)
        self.taken(event)


class OpenImLine(StandInLine):
    """Single chats, by the callback after a message was sent."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(openim.OpenImServer):
            async def _send_msg(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
                response = await super()._send_msg(request)
                assert isinstance(response.body, bytes)
                if json.loads(response.body)["errCode"] == 0:
                    shown = self.sent[-1]
                    hear(int(shown.body["recvID"][1:]), Reply(shown.text))
                return response

        self._openim = await stack.enter_async_context(Heard())
        self.url += f"/{openim.WEBHOOK_SECRET}"
        return {
            "platform": "openim",
            "api_base": self._openim.url,
            "secret": openim.SECRET,
            "bot_id": openim.BOT,
            "webhook_secret": openim.WEBHOOK_SECRET,
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        user = f"u{FIRST + chat}"
        self._openim.users[user] = "Ann"
        called = self.once(event, lambda: self._openim.message(text, user))
        assert self._http is not None
        url = f"{self.url}/{called['callbackCommand']}"
        headers = {"Content-Type": "application/json"}
        await posted(self._http, url, json.dumps(called).encode(), headers)
        self.taken(event)


class ChatwootLine(StandInLine):
    """Conversations of a web widget, whose agent bot we are."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(chatwoot.Chatwoot):
            def _add(
                self, conversation: Any, kind: str, text: str, sender: Any, **fields: Any
            ) -> Any:
                message = super()._add(conversation, kind, text, sender, **fields)
                if sender is chatwoot.BOT and not fields["private"]:
                    hear(conversation.id, Reply(text))
                return message

        self._chatwoot = await stack.enter_async_context(Heard())
        return {
            "platform": "chatwoot",
            "base_url": self._chatwoot.url,
            "bot_token": chatwoot.TOKEN,
            "account_ids": [chatwoot.ACCOUNT],
            "webhook_secret": chatwoot.SECRET,
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        conversation = self._chatwoot.conversation(FIRST + chat)
        customer = chatwoot.CUSTOMER | {"id": FIRST + chat}

        def make() -> Any:
            added = self._chatwoot._add(conversation, chatwoot.INCOMING, text, customer)
            return self._chatwoot.payload(added, conversation) | {"event": "message_created"}

        body = json.dumps(self.once(event, make)).encode()
        await self.post(body, self._chatwoot.headers(body))
        self.taken(event)


def stand_in_lines() -> list[StandInLine]:
    """A line for each platform, named like it."""
    return [
        SlackLine("slack"),
        TelegramLine("telegram"),
        FeishuLine("feishu"),
        WeComLine("wecom"),
        OpenImLine("openim"),
        ChatwootLine("chatwoot"),
    ]
