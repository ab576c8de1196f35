"""The adapter alone against the stand-in: what it calls, what it makes of refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from adapters.feishu.adapter import FeishuAdapter
from adapters.feishu.faults import TokenRefused
from adapters.feishu.settings import FeishuSettings
from adapters.rest import ANSWER_BYTES
from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import (
    Attachment,
    Button,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    MessageDeleted,
    MessageReceived,
    OutboundMessage,
)
from tests.platforms.feishu import ANN, APP_SECRET, BOB, DIRECT, GROUP, Failure, Feishu
from tests.platforms.feishu_forms import card_of, sealed, words_of

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def feishu() -> AsyncIterator[Feishu]:
    async with Feishu() as stand_in:
        yield stand_in


@pytest_asyncio.fixture
async def adapter(feishu: Feishu) -> AsyncIterator[FeishuAdapter]:
    async with made(feishu) as opened:
        yield opened


def made(feishu: Feishu, **change: Any) -> FeishuAdapter:
    return FeishuAdapter("shop", FeishuSettings.model_validate(feishu.section(**change)))


def message(
    text: str = "**5 days**", chat: str = DIRECT, *, thread: str | None = None, **more: Any
) -> OutboundMessage:
    given: dict[str, Any] = {"conversation": ConversationId("shop", chat, thread), "id": "msg_1"}
    return OutboundMessage(text=text, **(given | more))


async def told(adapter: FeishuAdapter, event: dict[str, Any], feishu: Feishu) -> WebhookReply:
    body, headers = sealed(event, feishu.encrypt_key)
    return await adapter.receive_webhook(
        WebhookRequest(method="POST", query={}, headers=headers, body=body)
    )


async def heard(adapter: FeishuAdapter, event: dict[str, Any], feishu: Feishu) -> InboundEvent:
    [found] = (await told(adapter, event, feishu)).events
    return found


def called(feishu: Feishu) -> list[str]:
    return [name for name, *_ in feishu.calls]


# --- sending -------------------------------------------------------------------------------------


async def test_a_message_is_a_card_and_its_receipt_names_it(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    receipt = await adapter.send(message())
    [sent] = feishu.said()
    assert receipt.platform_ids == (sent["message_id"],)
    assert words_of(sent) == "**5 days**"


async def test_a_repeat_is_there_once(adapter: FeishuAdapter, feishu: Feishu) -> None:
    first, second = await adapter.send(message()), await adapter.send(message())
    assert first == second
    assert len(feishu.said()) == 1


async def test_a_card_that_is_refused_goes_as_text(adapter: FeishuAdapter, feishu: Feishu) -> None:
    feishu.failures["create"].append(Failure(230099, "Failed to create card content"))
    await adapter.send(message("**Which?** <at id=all>", buttons=(Button("t", "Refunds"),)))
    [sent] = feishu.said()
    assert (sent["msg_type"], words_of(sent)) == ("text", "Which? <\u200bat id=all>\n1. Refunds")
    assert feishu.mentioned == []


async def test_what_is_too_long_for_a_card_goes_as_text(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    await adapter.send(message("长" * 15_000))
    assert feishu.said()[0]["msg_type"] == "text"
    assert len(feishu.calls) == 1


async def test_nobody_is_called_by_what_a_document_says(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    for number, trap in enumerate(("<at id=all></at>", "```\n<at id=all></at>\n```")):
        await adapter.send(message(trap, id=f"msg_{number}"))
    assert len(feishu.said()) == 2
    assert feishu.mentioned == []


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_answer_to_what_is_gone_goes_into_the_chat(
    adapter: FeishuAdapter, feishu: Feishu, is_known: bool
) -> None:
    asked = feishu.says("hello", GROUP)
    feishu.recalls(asked)
    gone = asked["event"]["message"]["message_id"] if is_known else "om_of_another_app"
    await adapter.send(message(chat=GROUP, in_reply_to=gone))
    assert [one.get("parent_id") for one in feishu.said(GROUP)] == [None]


async def test_in_a_topic_it_goes_under_the_first_message_then(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    root = feishu.says("hello", GROUP, topic=True)["event"]["message"]
    asked = feishu.says("and?", GROUP, sender=BOB, parent=feishu.messages[root["message_id"]])
    feishu.recalls(asked)
    there = {"thread": root["message_id"], "chat": GROUP}
    await adapter.send(message(in_reply_to=asked["event"]["message"]["message_id"], **there))
    [sent] = feishu.said(GROUP)
    assert (sent["parent_id"], sent["thread_id"]) == (root["message_id"], root["thread_id"])
    assert all(body["reply_in_thread"] for _, _, body in feishu.calls)
    # A topic that is gone is no reason to tell the whole group.
    feishu.messages[root["message_id"]]["deleted"] = True
    with pytest.raises(MessageRejected):
        await adapter.send(message(id="msg_2", **there))
    assert len(feishu.said(GROUP)) == 1


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        (Failure(99991400, "frequency limit", 429), ChannelUnavailable, "429"),
        (Failure(99991400, "frequency limit", 400), ChannelUnavailable, "99991400"),
        (Failure(230020, "too much in one chat"), ChannelUnavailable, "230020"),
        (Failure(230049, "The message is being sent."), ChannelUnavailable, "230049"),
        (Failure(2200, "internal error", 500), ChannelUnavailable, "500"),
        (Failure(status=502, body="<html>bad gateway"), ChannelUnavailable, "502"),
        (Failure(status=200, body='{"ok": true}'), ChannelUnavailable, "does not speak"),
        (Failure(status=302, body=""), ChannelUnavailable, "302"),
        (Failure(status=403, body=""), ChannelUnauthorized, "403"),
        (
            Failure(
                99991672,
                "Access denied. One of the following scopes is required: [im:message,"
                " im:message:send_as_bot].\nhttps://open.feishu.cn/app/cli_1/auth?q=im:message",
            ),
            ChannelUnauthorized,
            "add the scope im:message or im:message:send_as_bot under",
        ),
        (Failure(230006, "Bot ability is not activated."), ChannelUnauthorized, "turn on the bot"),
        (Failure(230002, "The bot can not be outside the group."), MessageRejected, "add it"),
        (Failure(230013, "Bot has NO availability", 200), MessageRejected, "availability"),
        (Failure(999, "new\nand strange"), MessageRejected, "999: new and strange"),
    ],
)
async def test_a_refusal_is_one_of_three_errors_and_says_what_to_do(
    adapter: FeishuAdapter, feishu: Feishu, failure: Failure, error: type[Exception], said: str
) -> None:
    feishu.failures["create"].append(failure)
    with pytest.raises(error, match=said) as raised:
        await adapter.send(message())
    assert "\n" not in str(raised.value)
    assert feishu.said() == []


@pytest.mark.parametrize("status", [400, 429])
async def test_feishu_is_left_alone_for_as_long_as_it_asks(
    adapter: FeishuAdapter, feishu: Feishu, status: int
) -> None:
    limit = {"x-ogw-ratelimit-limit": "100", "x-ogw-ratelimit-reset": "52"}
    feishu.failures["create"].append(Failure(99991400, "limit", status, limit))
    with pytest.raises(ChannelUnavailable) as raised:
        await adapter.send(message())
    assert raised.value.retry_after_seconds == 52


async def test_a_message_without_anything_to_see_is_not_sent(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    with pytest.raises(MessageRejected, match="nothing in the message"):
        await adapter.send(message(" "))
    assert feishu.calls == []


# --- the token -----------------------------------------------------------------------------------


async def test_one_token_serves_all_calls(adapter: FeishuAdapter, feishu: Feishu) -> None:
    for number in range(3):
        await adapter.send(message(id=f"msg_{number}"))
    assert feishu.lent == 1


async def test_a_token_that_is_no_longer_good_is_renewed_and_nothing_is_lost(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    await adapter.send(message())
    feishu.expire()
    await adapter.send(message(id="msg_2"))
    assert (feishu.lent, len(feishu.said())) == (2, 2)


async def test_a_new_token_that_is_refused_too_is_not_renewed_for_ever(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    feishu.failures["create"] += [Failure(99991663, "Invalid access token")] * 2
    with pytest.raises(TokenRefused):
        await adapter.send(message())
    assert (feishu.lent, called(feishu)) == (2, ["create", "create"])


async def test_a_wrong_secret_is_named_and_does_not_show(feishu: Feishu) -> None:
    async with made(feishu, app_secret="not-the-secret") as adapter:
        with pytest.raises(ChannelUnauthorized, match="copy app_id and app_secret") as raised:
            await adapter.check()
    assert "not-the-secret" not in str(raised.value)
    feishu.failures["token"].append(Failure(10003, "invalid param"))
    async with made(feishu) as adapter:
        with pytest.raises(ChannelUnauthorized, match="10003") as raised:
            await adapter.check()
    assert APP_SECRET not in str(raised.value)


async def test_a_busy_feishu_lends_a_token_later(feishu: Feishu) -> None:
    feishu.failures["token"] += [Failure(99991400, "limit", 200), Failure(status=503, body="busy")]
    async with made(feishu) as adapter:
        for _ in range(2):
            with pytest.raises(ChannelUnavailable):
                await adapter.send(message())
        await adapter.send(message())
    assert len(feishu.said()) == 1


async def test_without_feishu_it_is_unavailable(feishu: Feishu) -> None:
    adapter = made(feishu, api_base="http://127.0.0.1:9")
    with pytest.raises(ChannelUnavailable):
        await adapter.send(message())
    async with adapter:
        with pytest.raises(ChannelUnavailable, match="did not answer"):
            await adapter.send(message())


async def test_check_says_whether_the_app_is_in_use(adapter: FeishuAdapter, feishu: Feishu) -> None:
    assert await adapter.check() == "kfbot"
    feishu.activate_status = 1
    with pytest.raises(ChannelUnauthorized, match="publish a version"):
        await adapter.check()


# --- changing ------------------------------------------------------------------------------------


async def test_a_card_is_changed_in_its_place(adapter: FeishuAdapter, feishu: Feishu) -> None:
    receipt = await adapter.send(message("Within"))
    await adapter.edit(receipt, message("Within 5 days.", buttons=(Button("t", "Yes"),)))
    [sent] = feishu.said()
    assert words_of(sent) == "Within 5 days."
    assert card_of(sent)["elements"][-1]["tag"] == "action"
    assert called(feishu) == ["create", "patch"]


async def test_a_message_that_went_as_text_is_changed_as_text(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    feishu.failures["create"].append(Failure(230099, "Failed to create card content"))
    receipt = await adapter.send(message("Within"))
    await adapter.edit(receipt, message("Within **5** days."))
    [sent] = feishu.said()
    assert (sent["msg_type"], words_of(sent)) == ("text", "Within 5 days.")


async def test_a_card_that_cannot_become_another_becomes_a_plain_one(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    receipt = await adapter.send(message("Within"))
    feishu.failures["patch"].append(Failure(230099, "Failed to create card content"))
    await adapter.edit(receipt, message("Within **5** days."))
    [sent] = feishu.said()
    assert (sent["msg_type"], words_of(sent)) == ("interactive", "Within 5 days.")


async def test_what_cannot_be_changed_is_said_so(adapter: FeishuAdapter, feishu: Feishu) -> None:
    with pytest.raises(MessageRejected, match="no id"):
        await adapter.edit(DeliveryReceipt(), message())
    receipt = await adapter.send(message())
    feishu.failures["patch"].append(Failure(230031, "too old"))
    with pytest.raises(MessageRejected, match="14 days"):
        await adapter.edit(receipt, message())


# --- files ---------------------------------------------------------------------------------------


async def test_a_file_in_a_message_is_fetched(adapter: FeishuAdapter, feishu: Feishu) -> None:
    feishu.files["file_1"] = b"%PDF"
    content = {"file_key": "file_1", "file_name": "a.pdf"}
    event = await heard(adapter, feishu.says("", kind="file", content=content), feishu)
    assert isinstance(event, MessageReceived)
    [attachment] = event.attachments
    await adapter.check()
    feishu.expire()
    assert await adapter.fetch(attachment) == b"%PDF"
    feishu.files = {}
    with pytest.raises(MessageRejected, match="234003"):
        await adapter.fetch(attachment)


async def test_a_large_file_is_not_fetched(adapter: FeishuAdapter, feishu: Feishu) -> None:
    feishu.files["file_1"] = b"x" * (ANSWER_BYTES + 1)
    asked = feishu.says("hello")["event"]["message"]["message_id"]
    with pytest.raises(MessageRejected, match="over"):
        await adapter.fetch(Attachment(f"feishu:{asked}/file/file_1"))
    for address in ("feishu:sticker", "https://a.example/x", f"{feishu.api_base}/open-apis/x"):
        with pytest.raises(MessageRejected, match="no bytes"):
            await adapter.fetch(Attachment(address))


# --- what only Feishu can tell -------------------------------------------------------------------


async def test_a_mention_waits_until_feishu_can_say_who_the_bot_is(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    feishu.failures["info"].append(Failure(status=503, body="busy"))
    event = feishu.says("@bot hello", GROUP)
    reply = await told(adapter, event, feishu)
    assert (reply.status, reply.events) == (503, ())
    found = await heard(adapter, event, feishu)
    assert isinstance(found, MessageReceived)
    assert (found.addressed_to_bot, found.text) == (True, "hello")
    await heard(adapter, event, feishu)
    assert called(feishu) == ["info", "info"]


async def test_without_mentions_feishu_is_asked_nothing(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    await heard(adapter, feishu.says("hello"), feishu)
    await heard(adapter, feishu.says("hello", GROUP), feishu)
    assert called(feishu) == []


async def test_who_is_replied_to_is_asked_once(adapter: FeishuAdapter, feishu: Feishu) -> None:
    asked = feishu.messages[feishu.says("hello", GROUP)["event"]["message"]["message_id"]]
    for _ in range(2):
        event = await heard(adapter, feishu.says("and?", GROUP, parent=asked), feishu)
        assert isinstance(event, MessageReceived)
        assert not event.addressed_to_bot
    assert called(feishu) == ["get"]


async def test_replies_that_may_not_be_looked_up_are_not_to_the_bot(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    await adapter.send(message(chat=GROUP))
    [answer] = feishu.said(GROUP)
    async with made(feishu) as another:
        scope = "One of the following scopes is required: [im:message:readonly]"
        feishu.failures["get"].append(Failure(99991672, scope))
        for _ in range(2):
            event = await heard(another, feishu.says("and?", GROUP, parent=answer), feishu)
            assert isinstance(event, MessageReceived)
            assert not event.addressed_to_bot
    assert called(feishu).count("get") == 1


async def test_a_recall_in_a_group_finds_the_conversation_of_its_message(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    event = feishu.says("@bot hello", GROUP)
    said = await heard(adapter, event, feishu)
    taken_back = await heard(adapter, feishu.recalls(event), feishu)
    assert isinstance(taken_back, MessageDeleted)
    assert taken_back.conversation == said.conversation == ConversationId("shop", GROUP, None, ANN)


async def test_what_is_called_holds_the_whole_message(
    adapter: FeishuAdapter, feishu: Feishu
) -> None:
    await adapter.send(message("half \ud83d an emoji", id="a\r\nb"))
    [(_, _, body)] = feishu.calls
    assert body["receive_id"] == DIRECT
    assert len(body["uuid"]) <= 50
    assert json.loads(body["content"])["elements"][0]["content"] == "half \ufffd an emoji"
