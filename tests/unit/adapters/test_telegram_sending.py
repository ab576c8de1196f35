"""What the adapter calls, what it makes of Telegram's answers, and that no token gets out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError
from telegram.error import TelegramError

from adapters.telegram import TelegramAdapter
from adapters.telegram.api import Refused
from adapters.telegram.settings import TelegramSettings
from kfbot.adapter import WebhookRequest
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import (
    Attachment,
    Button,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)
from tests.platforms.telegram import ALL_SECOND, BOT, FORUM, GROUP, PRIVATE, TOKEN, BotApi
from tests.platforms.telegram_texts import Fault

pytestmark = pytest.mark.asyncio

CHAT = ConversationId("shop", "7")
SECRET = TOKEN.partition(":")[2]


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[BotApi]:
    async with BotApi() as opened:
        for chat in (PRIVATE, GROUP, FORUM):
            await opened.says("hello", chat=chat)
        yield opened


@pytest_asyncio.fixture
async def adapter(platform: BotApi) -> AsyncIterator[TelegramAdapter]:
    async with made(platform) as opened:
        yield opened


def made(platform: BotApi, **settings: Any) -> TelegramAdapter:
    given = {"platform": "telegram", "token": TOKEN, "api_base": platform.url} | settings
    return TelegramAdapter("shop", TelegramSettings.model_validate(given))


def message(text: str = "**Hi**", conversation: ConversationId = CHAT, **fields: Any) -> Any:
    return OutboundMessage(conversation=conversation, id="m", text=text, **fields)


async def test_an_answer_is_sent_as_html_with_its_buttons(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    receipt = await adapter.send(message(buttons=(Button("t1", "Helpful", "helpful"),)))
    [sent] = platform.sent
    assert (sent.source, sent.text, sent.buttons) == ("<b>Hi</b>", "Hi", {"Helpful": "t1"})
    assert receipt == DeliveryReceipt((str(sent.message["message_id"]),))


async def test_topics_are_named_but_the_first_one_which_telegram_does_not_know(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    await adapter.send(message(conversation=ConversationId("shop", "-200", thread="40")))
    await adapter.send(message(conversation=ConversationId("shop", "-200", thread="1")))
    assert [sent.message.get("message_thread_id") for sent in platform.sent] == [40, None]


async def test_an_answer_hangs_under_its_question_and_is_sent_even_if_that_is_gone(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    group = ConversationId("shop", "-100", member="7")
    await adapter.send(message(conversation=group, in_reply_to="1"))
    await adapter.send(message(conversation=group, in_reply_to="999"))
    await adapter.send(message(in_reply_to="1"))
    await adapter.send(message(in_reply_to="not Telegram's"))
    hung = ["reply_to_message" in sent.message for sent in platform.sent]
    assert hung == [True, False, True, False]


async def test_what_telegram_cannot_read_is_sent_as_it_was_written(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    fault = Fault(400, "Bad Request: can't parse entities: Unsupported start tag")
    platform.faults["sendMessage"] = [fault]
    await adapter.send(message())
    assert [sent.text for sent in platform.sent] == ["**Hi**"]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault(401, "Unauthorized"), ChannelUnauthorized),
        (Fault(404, "Not Found"), ChannelUnauthorized),
        (Fault(400, "Bad Request: chat not found"), MessageRejected),
        (Fault(403, "Forbidden: bot was blocked by the user"), MessageRejected),
        (Fault(429, "Too Many Requests: retry after 7", retry_after=7), ChannelUnavailable),
        (Fault(500, "Internal Server Error"), ChannelUnavailable),
        (Fault(502, "Bad Gateway"), ChannelUnavailable),
        (Fault(409, "Conflict"), ChannelUnavailable),
        (Fault(302, "Found"), ChannelUnavailable),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
async def test_each_refusal_says_what_the_core_has_to_do(
    platform: BotApi, adapter: TelegramAdapter, fault: Fault, raised: type[ChannelError]
) -> None:
    platform.faults["sendMessage"] = [fault]
    with pytest.raises(raised) as found:
        await adapter.send(message())
    assert type(found.value) is raised or fault.status == 409
    assert getattr(found.value, "retry_after_seconds", None) == fault.parameters.get("retry_after")


async def test_a_lost_404_does_not_stop_a_bot_that_was_accepted_before(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    await adapter.send(message())
    platform.faults["sendMessage"] = [Fault(404, "Not Found")]
    with pytest.raises(ChannelUnavailable):
        await adapter.send(message())


async def test_no_error_of_the_library_is_left_unmapped(adapter: TelegramAdapter) -> None:
    kinds: list[type[TelegramError]] = [TelegramError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        error = kind.__new__(kind)
        TelegramError.__init__(error, "x")
        if not isinstance(error, Refused):
            assert isinstance(adapter._opened()._fault("getMe", error), ChannelUnavailable)
    assert len(kinds) > 8


async def test_what_a_busy_process_sends_together_leaves_within_telegrams_limit(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    await asyncio.gather(*(adapter.send(message(f"{number}")) for number in range(60)))
    times = [sent.at for sent in platform.sent]
    assert max(sum(0 <= at - start < 1 for at in times) for start in times) <= ALL_SECOND


async def test_a_group_that_moved_is_written_to_at_its_new_address(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    moved = Fault(400, "group chat was upgraded", migrate_to_chat_id=-100)
    platform.faults["sendMessage"] = [moved]
    await adapter.send(message(conversation=ConversationId("shop", "-5", member="7")))
    assert [sent.chat for sent in platform.sent] == [GROUP["id"]]


async def test_an_edit_replaces_and_one_that_changes_nothing_is_no_fault(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    receipt = await adapter.send(message("one"))
    await adapter.edit(receipt, message("two"))
    await adapter.edit(receipt, message("two"))
    assert (platform.sent[0].text, len(platform.sent)) == ("two", 1)
    with pytest.raises(MessageRejected):
        await adapter.edit(DeliveryReceipt(("999",)), message("three"))


async def test_a_file_is_fetched_up_to_the_size_that_telegram_allows(
    platform: BotApi, adapter: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.files["one.jpg"] = b"\xff\xd8"
    one = Attachment(url="telegram-file:one.jpg")
    assert await adapter.fetch(one) == b"\xff\xd8"
    monkeypatch.setattr("adapters.telegram.api.FILE_BYTES", 1)
    for attachment in (one, Attachment("telegram-file:none"), Attachment("https://a.example/")):
        with pytest.raises(MessageRejected):
            await adapter.fetch(attachment)


async def test_what_a_server_lacks_beside_the_necessary_stops_nothing(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    platform.lacks = {"sendChatAction", "editMessageText", "getFile"}
    await adapter.show_typing(CHAT)
    await adapter.send(message())
    await adapter.show_typing(CHAT)
    assert (platform.count("sendChatAction"), len(platform.sent)) == (2, 1)


async def test_no_token_is_in_a_log_or_an_error(
    platform: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[pytest.ExceptionInfo[ChannelError]] = []
    async with made(platform) as adapter:
        assert SECRET not in repr(adapter._api)
        await adapter.send(message())
        platform.files["one"] = b"1"
        await adapter.fetch(Attachment("telegram-file:one"))
        for words in (f"no such path /bot{TOKEN}/sendMessage", f"who is {TOKEN}?"):
            platform.faults["sendMessage"] = [Fault(400, words)]
            with pytest.raises(MessageRejected) as rejected:
                await adapter.send(message())
            said.append(rejected)
        platform.token = "4242:another"
        with pytest.raises(ChannelUnauthorized) as refused:
            await adapter.check()
        said.append(refused)
    async with made(platform, api_base="http://127.0.0.1:9") as adapter:
        with pytest.raises(ChannelUnavailable) as silent:
            await adapter.check()
        said.append(silent)
    shown = caplog.text + "".join(
        f"{one.value!r} {one.getrepr(style='long', showlocals=False)}" for one in said
    )
    assert "HTTP Request" in caplog.text
    assert SECRET not in shown


async def test_check_names_the_bot_and_refuses_a_wrong_token_with_what_to_do(
    platform: BotApi,
) -> None:
    async with made(platform) as adapter:
        assert await adapter.check() == "@shop_bot, sees in groups commands, mentions and replies"
    async with made(platform, token="4242:wrong") as adapter:
        with pytest.raises(ChannelUnauthorized, match="@BotFather"):
            await adapter.check()


@pytest.mark.parametrize(
    "settings",
    [
        {"agents_chat": "agents"},
        {"agents_chat": "31"},
        {"token": "with space"},
        {"token": "4242:a/../b"},
        {"token": ""},
        {"api_base": "ftp://x"},
        {"api_base": "http://[x"},
        {"mode": "webhook"},
        {"mode": "webhook", "webhook_secret": "two words"},
        {"webhook_url": "/webhooks/shop"},
    ],
)
async def test_settings_that_cannot_work_are_refused(settings: dict[str, str]) -> None:
    given = {"platform": "telegram", "token": TOKEN} | settings
    with pytest.raises(ValidationError) as raised:
        TelegramSettings.model_validate(given)
    assert SECRET not in str(raised.value)


# Receiving


async def listened(adapter: TelegramAdapter, count: int) -> list[InboundEvent]:
    """The first events; the last one is not stored: `listen` is broken off at its yield."""
    found: list[InboundEvent] = []
    events = adapter.listen()
    async with asyncio.timeout(60):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    await events.aclose()  # type: ignore[attr-defined]
    return found


async def test_only_what_was_stored_is_confirmed(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    first = await listened(adapter, 3)
    again = await listened(adapter, 3)
    assert [one.event_id for one in first] == [one.event_id for one in again]
    offsets = [given.get("offset") for method, given in platform.calls if method == "getUpdates"]
    assert offsets == [None, None]


async def test_unknown_and_malformed_updates_are_passed_over_and_confirmed(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    platform.updates.clear()
    await platform.tell({"message": {"message_id": "x"}})
    await platform.tell({"gift_of_tomorrow": {}})
    await platform.tell({"message": 7})
    await platform.says("here")
    waiting = asyncio.create_task(listened(adapter, 2))
    async with asyncio.timeout(60):
        while len(platform.updates) > 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await platform.says("there")
    assert [getattr(event, "text", "") for event in await waiting] == ["here", "there"]


async def test_numbers_that_begin_lower_after_a_quiet_week_are_confirmed(
    adapter: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: list[int | None] = []
    numbers = [[1000, 1001], [5]]

    async def poll(offset: int | None) -> list[Any]:
        offsets.append(offset)
        if not numbers:
            raise ChannelUnauthorized("shop", "enough")
        return [{"update_id": number} for number in numbers.pop(0)]

    monkeypatch.setattr(adapter, "_poll", poll)
    with pytest.raises(ChannelUnauthorized):
        await listened(adapter, 1)
    assert offsets == [None, 1002, 6]


async def test_rubbish_without_a_number_does_not_stop_the_channel(
    platform: BotApi, adapter: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.adapter._EMPTY_PAUSE_SECONDS", 0.0)
    rubbish: list[Any] = [7, None, {"update_id": "9"}]
    platform.updates[:] = [*rubbish, *platform.updates]
    assert len(await listened(adapter, 3)) == 3


@pytest.mark.parametrize("fault", [Fault(500, "x"), Fault(409, "Conflict: webhook is active"),
                                   Fault(429, "x", retry_after=0), Fault(400, "x")])  # fmt: skip
async def test_a_poll_that_fails_is_tried_again(
    platform: BotApi, adapter: TelegramAdapter, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.api._LONGEST_PAUSE_SECONDS", 0.0)
    platform.faults["getMe"] = [Fault(500, "x")]
    platform.faults["getUpdates"] = [fault, fault]
    platform.lacks = {"deleteWebhook"}
    assert len(await listened(adapter, 3)) == 3


async def test_a_refused_token_ends_listening(platform: BotApi, adapter: TelegramAdapter) -> None:
    platform.faults["getUpdates"] = [Fault(401, "Unauthorized")]
    with pytest.raises(ChannelUnauthorized):
        await listened(adapter, 1)


async def test_webhook_mode_tells_telegram_where_to_call(platform: BotApi) -> None:
    settings = {"mode": "webhook", "webhook_secret": "quiet"}
    async with made(platform, webhook_url="https://shop.example/w", **settings) as adapter:
        assert await listened(adapter, 1) == []
    assert platform.webhook["secret_token"] == "quiet"
    async with made(platform, **settings) as adapter:
        assert await listened(adapter, 1) == []
    assert platform.count("setWebhook") == 1


def pushed(update: str, secret: str = "quiet", method: str = "POST") -> WebhookRequest:
    headers = {"x-telegram-bot-api-secret-token": secret}
    return WebhookRequest(method=method, query={}, headers=headers, body=update.encode())


async def test_the_webhook_wants_a_post_with_the_secret_and_an_update(platform: BotApi) -> None:
    adapter = made(platform, mode="webhook", webhook_secret="quiet")
    requests = (
        pushed("{}", secret="loud"), pushed("{}", secret="é"), pushed("{}", secret="\udcff"),
        pushed("{}", method="GET"), pushed("{}"), pushed('{"update_id": true}'),
    )  # fmt: skip
    statuses = []
    for request in requests:
        with pytest.raises(WebhookRejected) as raised:
            await adapter.receive_webhook(request)
        statuses.append(raised.value.status)
    assert statuses == [401, 401, 401, 405, 400, 400]
    with pytest.raises(WebhookRejected) as raised:
        await made(platform).receive_webhook(pushed("{}"))
    assert raised.value.status == 404


async def test_a_mention_waits_until_our_name_is_known(platform: BotApi) -> None:
    body = (
        '{"update_id": 1, "message": {"message_id": 1, "date": 1, "text": "@shop_bot hi",'
        ' "chat": {"id": -100, "type": "group"}, "from": {"id": 7, "first_name": "A"}}}'
    )
    async with made(platform, mode="webhook", webhook_secret="quiet") as adapter:
        platform.faults["getMe"] = [Fault(500, "x")]
        with pytest.raises(WebhookRejected) as raised:
            await adapter.receive_webhook(pushed(body))
        assert raised.value.status == 425
        reply = await adapter.receive_webhook(pushed(body))
    assert [getattr(event, "text", "") for event in reply.events] == ["hi"]
    assert BOT["username"] == "shop_bot"
