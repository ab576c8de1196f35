"""DingTalk's stream with the whole bot behind it, and its official SDK on our stand-in."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.dingtalk import DingTalkAdapter
from adapters.dingtalk.adapter import DingTalkSettings
from adapters.dingtalk.reading import event_of
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import Attachment, ConversationId, OutboundMessage
from tests.integration.conftest import Served
from tests.platforms.dingtalk import CLIENT_ID, CLIENT_SECRET, DingTalkStandIn

pytestmark = pytest.mark.asyncio
QUESTION, ANSWER = "When will my refund arrive?", "Within 2 business days."


def section(platform: DingTalkStandIn, **given: Any) -> dict[str, Any]:
    return {
        "platform": "dingtalk", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "api_base": platform.url, **given,
    }  # fmt: skip


@asynccontextmanager
async def shop(served: Served, **given: Any) -> AsyncIterator[DingTalkStandIn]:
    async with (
        DingTalkStandIn(**given) as platform,
        served(sections={"ding": section(platform)}),
    ):
        yield platform


@asynccontextmanager
async def adapter(platform: DingTalkStandIn, **given: Any) -> AsyncIterator[DingTalkAdapter]:
    settings = DingTalkSettings.model_validate(section(platform, **given))
    async with DingTalkAdapter("ding", settings) as opened:
        yield opened


def hello(chat: str = "user:ann", member: str | None = None) -> OutboundMessage:
    place = ConversationId("ding", chat, member=member)
    return OutboundMessage(conversation=place, id="msg_1", text="hello")


async def test_a_question_is_stored_acknowledged_and_answered_by_its_webhook(
    served: Served,
) -> None:
    async with shop(served) as platform:
        await platform.tell(platform.message(f" {QUESTION}"))
        [(how, body)] = await platform.until(platform.sent, 1)
        assert (how, body["msgtype"]) == ("webhook", "text")
        assert body["text"]["content"].startswith(ANSWER)
        assert await platform.until(platform.acknowledged, 1) == ["msg1=="]


async def test_a_member_of_a_group_is_answered_by_name_in_chinese(served: Served) -> None:
    async with shop(served) as platform:
        await platform.tell(platform.message(" 运费是多少", group=True))
        [(_, body)] = await platform.until(platform.sent, 1)
        assert body["at"] == {"atUserIds": ["ann"]}


async def test_what_comes_again_is_answered_once(served: Served) -> None:
    async with shop(served) as platform:
        again = platform.message(QUESTION)
        await platform.tell(again)
        await platform.tell(again)
        await platform.tell(platform.message("How do I return an item?"))
        sent = await platform.until(platform.sent, 2)
        assert [body["text"]["content"][:4] for _, body in sent] == [ANSWER[:4], "Open"]


@pytest.mark.parametrize("group", [False, True])
async def test_without_a_webhook_the_api_sends(served: Served, group: bool) -> None:
    async with shop(served, webhook_seconds=-1) as platform:
        await platform.tell(platform.message(QUESTION, group=group))
        [(how, body)] = await platform.until(platform.sent, 1)
        assert how == ("group" if group else "user")
        assert json.loads(body["msgParam"])["content"].startswith(ANSWER)
        wanted = {"openConversationId": "cidGROUP=="} if group else {"userIds": ["ann"]}
        assert wanted.items() <= body.items()


async def test_a_session_that_is_over_loses_no_answer(served: Served) -> None:
    over = {"errcode": 310000, "errmsg": "session expired"}
    async with shop(served, webhook_answers=[over]) as platform:
        await platform.tell(platform.message(QUESTION))
        [(how, _)] = await platform.until(platform.sent, 1)
        assert how == "user"


async def test_a_connection_that_ends_or_breaks_is_opened_anew_with_its_backlog(
    served: Served,
) -> None:
    async with shop(served) as platform:
        await platform.tell(platform.message(QUESTION))
        await platform.until(platform.sent, 1)
        await platform.hang_up()
        await platform.tell(platform.message("How do I return an item?"))
        sent = await platform.until(platform.sent, 2)
        assert "Open" in sent[1][1]["text"]["content"]
        assert platform.streams >= 2


async def test_pings_and_what_is_not_for_the_robot_are_acknowledged(served: Served) -> None:
    async with shop(served) as platform:
        await platform.tell(platform.message(QUESTION))
        await platform.until(platform.sent, 1)
        await platform.ping()
        await platform._send({"type": "EVENT", "headers": {"messageId": "e", "topic": "*"}})
        await platform._send({"type": "CALLBACK", "headers": [], "data": "{"})
        assert set(await platform.until(platform.acknowledged, 4)) == {"msg1==", "ping", "e", ""}


async def test_an_acknowledgement_that_is_lost_stops_no_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send, tried = aiohttp.ClientWebSocketResponse.send_str, asyncio.Event()

    async def failing(self: aiohttp.ClientWebSocketResponse, text: str) -> None:
        if not tried.is_set():
            tried.set()
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        await send(self, text)

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", failing)
    async with DingTalkStandIn() as platform, adapter(platform) as one:
        for said in ("hi", "hello"):
            await platform.tell(platform.message(said))
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            assert [(await anext(heard)).event_id for _ in range(2)] == ["msg1==", "msg2=="]


async def test_a_token_that_is_refused_is_asked_for_anew() -> None:
    async with DingTalkStandIn() as platform, adapter(platform) as one:
        assert (await one.send(hello())).platform_ids == ("key1",)
        platform.tokens.append("another process asked for one")
        await one.send(hello())
        assert len(platform.tokens) == 3
        assert await one.fetch(Attachment("dingtalk-file:code")) == b"picture"


async def test_refused_credentials_say_what_to_do_and_nothing_secret() -> None:
    async with (
        DingTalkStandIn() as platform,
        adapter(platform, client_secret="another one") as one,
    ):
        for asking in (one.check(), one.send(hello()), anext(one.listen())):  # type: ignore[arg-type]
            with pytest.raises(ChannelUnauthorized, match=r"dingtalk\.com") as raised:
                await asking
            assert "another one" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "systemError", ChannelUnavailable),
        (404, "invalidParameter", ChannelUnavailable),
        (408, "", ChannelUnavailable),
        (425, "", ChannelUnavailable),
        (429, "", ChannelUnavailable),
        (500, "", ChannelUnavailable),
        (400, "invalidClientIdOrSecret", ChannelUnauthorized),
        (401, "authFailed", ChannelUnauthorized),
        (403, "Forbidden.AccessDenied.IpNotInWhiteList", ChannelUnauthorized),
    ],
)
async def test_only_wrong_credentials_stop_a_channel_that_gets_no_connection_and_no_token(
    status: int, code: str, kind: type[Exception]
) -> None:
    async with DingTalkStandIn() as platform, adapter(platform) as one:
        for asking in (anext(one.listen()), one.send(hello())):  # type: ignore[arg-type]
            platform.refusals = [(status, code)]
            with pytest.raises(kind, match=str(status)):
                await asking
        assert (await one.send(hello())).platform_ids == ("key1",)


async def test_a_channel_whose_connection_is_refused_for_a_while_comes_back_without_a_restart(
    served: Served,
) -> None:
    async with shop(served, refusals=[(400, "systemError")]) as platform:
        await platform.tell(platform.message(QUESTION))
        [(_, body)] = await platform.until(platform.sent, 1)
        assert body["text"]["content"].startswith(ANSWER)


async def test_a_busy_webhook_means_later() -> None:
    busy = {"errcode": 130101, "errmsg": "send too fast"}
    async with DingTalkStandIn(webhook_answers=[busy]) as platform, adapter(platform) as one:
        one._remember("user:ann", platform.message("hi"))
        with pytest.raises(ChannelUnavailable) as raised:
            await one.send(hello())
        assert raised.value.retry_after_seconds == 60


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_webhook_that_http_refuses_leaves_the_answer_to_the_api(status: int) -> None:
    refusal = {"errcode": 1, "status": status}
    async with DingTalkStandIn(webhook_answers=[refusal]) as platform, adapter(platform) as one:
        one._remember("user:ann", platform.message("hi"))
        await one.send(hello())
        assert [how for how, _ in platform.sent] == ["user"]


async def test_two_answers_that_find_the_same_webhook_over_are_both_sent() -> None:
    over = {"errcode": 310000, "errmsg": "session expired"}
    async with DingTalkStandIn(webhook_answers=[over, over]) as platform, adapter(platform) as one:
        one._remember("group:c", platform.message("hi", group=True))
        await asyncio.gather(*(one.send(hello("group:c", member)) for member in ("ann", "bob")))
        assert [how for how, _ in platform.sent] == ["group", "group"]


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}, ChannelUnavailable),
        (403, {"code": "Forbidden.AccessDenied.QpmLimitForApi"}, ChannelUnavailable),
        (
            403,
            {"code": "Forbidden.AccessDenied.AccessTokenPermissionDenied"},
            ChannelUnauthorized,
        ),
        (200, {"flowControlledStaffIdList": ["ann"]}, ChannelUnavailable),
        (200, {"invalidStaffIdList": ["ann"]}, MessageRejected),
        (400, {"code": "invalidParameter"}, MessageRejected),
        (500, {}, ChannelUnavailable),
    ],
)
async def test_what_the_api_refuses_is_one_of_the_three_errors(
    status: int, answer: dict[str, Any], kind: type[Exception]
) -> None:
    async with DingTalkStandIn() as platform, adapter(platform) as one:
        platform.robot_answers = [(status, answer)] * 2
        with pytest.raises(kind):
            await one.send(hello())


async def test_a_webhook_of_somebody_elses_is_not_called() -> None:
    async with DingTalkStandIn() as platform, adapter(platform) as one:
        for address in ("http://169.254.169.254/", "https://dingtalk.com.evil.example/x"):
            one._remember("user:ann", platform.message("hi", sessionWebhook=address))
        await one.send(hello())
        assert [how for how, _ in platform.sent] == ["user"]


async def test_voice_pictures_and_rich_texts_are_read() -> None:
    async with DingTalkStandIn() as platform:
        voice = platform.message(
            "", msgtype="audio", content={"recognition": "退款多久到账", "downloadCode": "c"}
        )
        rich = {
            "richText": [
                {"text": "look "},
                {"downloadCode": "p", "type": "picture"},
                {"text": "here"},
            ]
        }
        pieces = platform.message("", msgtype="richText", content=rich)
        odd = platform.message("", msgtype="unknownMsgType", content=7)
    heard = event_of(voice, "ding")
    assert heard is not None
    assert heard.text == "退款多久到账"
    assert heard.attachments[0].url == "dingtalk-file:c"
    read = event_of(pieces, "ding")
    assert read is not None
    assert (read.text, len(read.attachments)) == ("look here", 1)
    assert event_of(odd, "ding") is None
    for junk in ({}, {"msgId": 7}, {"msgId": "a", "conversationId": "c" * 300, "senderId": "x"}):
        assert event_of(junk, "ding") is None


_THEIR_BOT = """
import asyncio
import dingtalk_stream as ds
class Handler(ds.ChatbotHandler):
    async def process(self, callback):
        message = ds.ChatbotMessage.from_dict(callback.data)
        print(message.text.content, flush=True)
        self.reply_text("heard", message)
        return ds.AckMessage.STATUS_OK, "OK"
ds.DingTalkStreamClient.OPEN_CONNECTION_API = "{url}/v1.0/gateway/connections/open"
client = ds.DingTalkStreamClient(ds.Credential("{id}", "{secret}"))
client.register_callback_handler(ds.ChatbotMessage.TOPIC, Handler())
asyncio.run(client.start())
"""


async def test_the_official_sdk_takes_our_stand_in_for_dingtalk() -> None:
    async with DingTalkStandIn() as platform:
        code = _THEIR_BOT.format(id=CLIENT_ID, secret=CLIENT_SECRET, url=platform.url)
        # A process of its own: it blocks whatever loop it runs in.
        theirs = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "utf8", "-W", "ignore", "-c", code,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await platform.tell(platform.message("hi 你好"))
            assert theirs.stdout is not None
            async with asyncio.timeout(60):
                assert (await theirs.stdout.readline()).decode().strip() == "hi 你好"
            [(how, body)] = await platform.until(platform.sent, 1)
            assert (how, body["text"]["content"]) == ("webhook", "heard")
            assert await platform.until(platform.acknowledged, 1) == ["msg1=="]
        finally:
            theirs.kill()
            await theirs.wait()
