"""The adapter of Chatwoot: who is believed, what is sent, what a refusal means."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from adapters.chatwoot import BODY_BYTES, REPLAY_SECONDS, ChatwootAdapter
from adapters.chatwoot.rendering import to_body, to_note
from adapters.chatwoot.settings import ChatwootSettings
from kfbot.adapter import WebhookRequest
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage
from tests.platforms.chatwoot import SECRET, TOKEN, WHATSAPP, Chatwoot, Fault

BODY = b'{"event": "webwidget_triggered"}'
HERE = ConversationId("desk", "1/10")
CHOICES = (Button("t1", "Returns"), Button("t2", "Refunds"), Button("t3", "A person", "person"))


def section(**changes: Any) -> dict[str, Any]:
    return {
        "platform": "chatwoot",
        "base_url": "http://127.0.0.1:9",
        "bot_token": TOKEN,
        "account_ids": [1],
        "webhook_secret": SECRET,
    } | changes


def adapter(**changes: Any) -> ChatwootAdapter:
    return ChatwootAdapter("desk", ChatwootSettings.model_validate(section(**changes)))


def request(body: bytes = BODY, *, at: float | None = None, **changes: Any) -> WebhookRequest:
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"x-chatwoot-timestamp": stamp, "x-chatwoot-signature": f"sha256={digest}"}
    values: dict[str, Any] = {"method": "POST", "query": {}, "headers": headers, "body": body}
    return WebhookRequest(**values | changes)


def message(text: str = "Hello.", **fields: Any) -> OutboundMessage:
    values: dict[str, Any] = {"conversation": HERE, "id": "msg_1", "text": text}
    return OutboundMessage(**values | fields)


async def status_of(adapter: ChatwootAdapter, given: WebhookRequest) -> int:
    try:
        return (await adapter.receive_webhook(given)).status
    except WebhookRejected as error:
        return error.status


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[Chatwoot]:
    async with Chatwoot() as opened:
        opened.conversation()
        yield opened


@asynccontextmanager
async def opened(platform: Chatwoot, **changes: Any) -> AsyncIterator[ChatwootAdapter]:
    async with adapter(base_url=platform.url, **changes) as one:
        yield one


# Who is believed


@pytest.mark.asyncio
async def test_a_signature_holds_for_five_minutes_early_or_late() -> None:
    one, now = adapter(), time.time()
    for off in (0, REPLAY_SECONDS - 5, 5 - REPLAY_SECONDS):
        assert await status_of(one, request(at=now + off)) == 200
    for off in (REPLAY_SECONDS + 5, -REPLAY_SECONDS - 5):
        assert await status_of(one, request(at=now + off)) == 401


FORGED = [
    {"x-chatwoot-signature": "sha256=" + "0" * 64},
    {"x-chatwoot-signature": ""},
    {"x-chatwoot-signature": "sha256=ä"},
    {"x-chatwoot-timestamp": ""},
    {"x-chatwoot-timestamp": "١٢٣"},
    {"x-chatwoot-timestamp": "9" * 400},
]


@pytest.mark.asyncio
@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
async def test_what_is_not_signed_so_is_refused(forged: dict[str, str]) -> None:
    good = request()
    assert await status_of(adapter(), request(headers={**good.headers, **forged})) == 401
    assert await status_of(adapter(), request(headers={})) == 401


@pytest.mark.asyncio
async def test_the_body_is_signed_byte_for_byte() -> None:
    assert await status_of(adapter(), request(headers=request(BODY + b" ").headers)) == 401


@pytest.mark.asyncio
async def test_a_secret_in_the_address_is_asked_for_beside_or_instead_of_a_signature() -> None:
    unsigned = adapter(webhook_secret=None, url_secret="quiet")
    for given, status in (({"secret": "quiet"}, 200), ({"secret": "loud"}, 401), ({}, 401)):
        assert await status_of(unsigned, request(headers={}, query=given)) == status
    both = adapter(url_secret="quiet")
    assert await status_of(both, request()) == 401
    assert await status_of(both, request(headers={}, query={"secret": "quiet"})) == 401
    assert await status_of(both, request(query={"secret": "quiet"})) == 200


@pytest.mark.asyncio
async def test_requests_of_another_form_are_refused() -> None:
    assert await status_of(adapter(), request(method="GET")) == 405
    assert await status_of(adapter(), request(b"x" * (BODY_BYTES + 1))) == 413


@pytest.mark.asyncio
async def test_an_account_that_is_not_ours_is_refused_and_named() -> None:
    told = {
        "event": "message_created", "id": 1, "content": "hi", "message_type": "incoming",
        "conversation": {"id": 10, "status": "pending"}, "account": {"id": 8},
    }  # fmt: skip
    with pytest.raises(WebhookRejected, match="account 8 is not in account_ids") as raised:
        await adapter().receive_webhook(request(json.dumps(told).encode()))
    assert raised.value.status == 403


@pytest.mark.asyncio
@pytest.mark.parametrize(("accounts", "told"), [([1], 1), ([1, 7], 0)])
async def test_a_conversation_whose_account_nobody_names_is_the_only_ones(
    accounts: list[int], told: int
) -> None:
    opening = {"event": "conversation_opened", "id": 10, "status": "open", "messages": []}
    one = adapter(account_ids=accounts)
    assert len((await one.receive_webhook(request(json.dumps(opening).encode()))).events) == told


SETTINGS = [
    ({"webhook_secret": None}, "webhook_secret is needed"),
    ({"account_ids": []}, "account_ids"),
    ({"account_ids": [1, 7], "team_id": 3}, "a team is of one account"),
    ({"bot_token": "two words"}, "copied whole"),
    ({"base_url": "chatwoot"}, "http or https"),
]


@pytest.mark.parametrize(("change", "reason"), SETTINGS)
def test_settings_that_cannot_work_say_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        adapter(**change)


# What is sent


def test_a_widget_shows_marks_links_and_options() -> None:
    source = Citation(id="d", title="Returns [old]", heading="Time", url="https://a.example/r_1")
    body = to_body(message("**15** days.", citations=(source,), buttons=CHOICES), is_widget=True)
    named = "\\[1\\] [Returns \\[old\\] › Time](<https://a.example/r_1>)"
    assert body["content"] == f"**15** days.\n\n{named}"
    assert body["content_attributes"]["items"][2] == {"title": "A person", "value": "t3"}


def test_an_address_that_is_no_link_stays_text() -> None:
    source = Citation(id="d", title="Returns", url="javascript:alert(1)")
    body = to_body(message(citations=(source,)), is_widget=True)
    assert body["content"].endswith("\\[1\\] Returns javascript:alert(1)")


def test_another_inbox_shows_choices_by_number_and_no_marks() -> None:
    body = to_body(message("**Which?**", buttons=CHOICES), is_widget=False)
    assert body["content"] == "Which?\n1. Returns\n2. Refunds"
    assert "content_type" not in body


def test_a_note_is_for_agents_alone() -> None:
    assert to_note("Why") == {"content": "Why", "message_type": "outgoing", "private": True}


@pytest.mark.asyncio
async def test_a_message_is_sent_once_and_its_id_kept(platform: Chatwoot) -> None:
    platform.conversation().inbox = WHATSAPP
    async with opened(platform) as one:
        receipt = await one.send(message())
    [sent] = platform.conversation().messages
    assert (sent["content"], receipt.platform_ids) == ("Hello.", (str(sent["id"]),))


@pytest.mark.asyncio
async def test_a_handoff_without_a_sentence_is_a_note_and_a_status(platform: Chatwoot) -> None:
    async with opened(platform) as one:
        receipt = await one.send(message("", kind="handoff", note="Why"))
    assert [action for _, action, _ in platform.calls] == ["messages", "toggle_status"]
    assert (platform.conversation().status, receipt.platform_ids) == ("open", ())


@pytest.mark.asyncio
async def test_an_earlier_part_of_a_handoff_opens_nothing(platform: Chatwoot) -> None:
    async with opened(platform, team_id=4) as one:
        await one.send(message("Part one", kind="handoff"))
    assert (platform.conversation().status, platform.conversation().team) == ("pending", None)


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [(429, {"Retry-After": "7"}, {}), (503, {}, {}), (302, {}, {})])
async def test_what_was_done_before_a_fault_is_not_repeated(
    platform: Chatwoot, fault: Fault
) -> None:
    handoff = message("I get a person.", kind="handoff", note="Why")
    async with opened(platform) as one:
        platform.faults["toggle_status"].append(fault)
        with pytest.raises(ChannelUnavailable) as raised:
            await one.send(handoff)
        await one.send(handoff)
    assert raised.value.retry_after_seconds == (7.0 if fault[0] == 429 else None)
    actions = [action for _, action, _ in platform.calls]
    assert actions == ["messages", "messages", "toggle_status", "toggle_status"]


@pytest.mark.asyncio
async def test_a_team_that_is_refused_stops_nothing(platform: Chatwoot) -> None:
    platform.lacks.add("assignments")
    async with opened(platform, team_id=4) as one:
        await one.send(message("I get a person.", kind="handoff", note="Why"))
    assert platform.conversation().status == "open"


@pytest.mark.asyncio
async def test_too_many_messages_in_a_conversation_are_sent_later(platform: Chatwoot) -> None:
    platform.faults["messages"].append((422, {}, {"message": "Too many messages"}))
    async with opened(platform) as one:
        with pytest.raises(ChannelUnavailable) as raised:
            await one.send(message())
    assert raised.value.retry_after_seconds == 60.0


FAULTS = [
    (401, {"error": "Invalid Access Token"}, ChannelUnauthorized),
    (404, {"error": "Resource could not be found"}, MessageRejected),
    (422, {"message": "Content is too long"}, MessageRejected),
    (500, {}, ChannelUnavailable),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("status", "said", "kind"), FAULTS)
async def test_each_refusal_is_one_of_the_three_errors_and_shows_no_token(
    platform: Chatwoot, status: int, said: Any, kind: type[ChannelError]
) -> None:
    platform.faults["messages"].append((status, {}, said))
    async with opened(platform) as one:
        with pytest.raises(kind) as raised:
            await one.send(message())
    assert TOKEN not in str(raised.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("chat", ["10", "1/10/messages", "1/../10", "1/0", "x/1", "1/10?a=b"])
async def test_a_conversation_of_another_form_is_never_called(
    platform: Chatwoot, chat: str
) -> None:
    async with opened(platform) as one:
        with pytest.raises(MessageRejected):
            await one.send(message(conversation=ConversationId("desk", chat)))
        await one.show_typing(ConversationId("desk", chat))
    assert platform.calls == []


# Who we are


@pytest.mark.asyncio
async def test_check_tries_the_token_in_each_account(platform: Chatwoot) -> None:
    async with opened(platform, account_ids=[1, 7]) as one:
        assert await one.check() == "an agent bot in account 1, 7"
    assert [number for number, _, _ in platform.calls] == [0, 0]


@pytest.mark.asyncio
async def test_check_says_what_to_mend(platform: Chatwoot) -> None:
    async with opened(platform, bot_token="wrong") as one:
        with pytest.raises(
            ChannelUnauthorized,
            match="copy the agent bot's token: in account 1 the platform answers 401",
        ):
            await one.check()
    async with adapter(base_url=f"{platform.url}/help") as one:
        with pytest.raises(ChannelUnauthorized, match="base_url: no Chatwoot is there"):
            await one.check()
    async with adapter() as one:
        with pytest.raises(ChannelUnavailable):
            await one.check()
