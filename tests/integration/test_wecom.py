"""The whole bot on WeCom: from a callback to the answer, to an app and at a service account."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from adapters.wecom import WeComAdapter, WeComSettings, feed
from kfbot.conversation import Conversation, State
from kfbot.messages import ConversationId, InboundEvent, MessageReceived
from kfbot.store import tables
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.wecom import (
    ACCOUNT,
    AGENT,
    ANN,
    PATIENCE_SECONDS,
    SECRET,
    STAFF,
    Fault,
    Sent,
    WeCom,
)
from tests.platforms.wecom_envelopes import AES_KEY, CORP, TOKEN, encrypt, seal, sign, xml

pytestmark = pytest.mark.asyncio

QUESTION, ANSWER = "运费是多少", ENTRIES["运费是多少"]
REFUND, REFUNDED = "When will my refund arrive?", "Within 2 business days."
KEEP = "How long do I have to return an item?"
PERSON = "转人工"


@pytest_asyncio.fixture
async def wecom() -> AsyncIterator[WeCom]:
    async with WeCom() as opened:
        yield opened


@asynccontextmanager
async def serving(wecom: WeCom, served: Served, **settings: Any) -> AsyncIterator[ServedBot]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"corp_id": CORP, "secret": SECRET, "token": TOKEN, "encoding_aes_key": AES_KEY}
    section = {"platform": "wecom", "api_base": wecom.url} | given | settings
    async with served(sections={"shop": section}, port=port) as bot:
        wecom.callback_url = f"{bot.url}/webhooks/shop"
        yield bot


@pytest_asyncio.fixture
async def app(wecom: WeCom, served: Served) -> AsyncIterator[ServedBot]:
    async with serving(wecom, served, agent_id=AGENT) as bot:
        yield bot


@pytest_asyncio.fixture
async def service(wecom: WeCom, served: Served) -> AsyncIterator[ServedBot]:
    async with serving(wecom, served, kf_accounts=[ACCOUNT]) as bot:
        await wecom.until_called("kf/sync_msg")
        yield bot


async def aclose(events: AsyncIterator[InboundEvent]) -> None:
    assert isinstance(events, AsyncGenerator)
    await events.aclose()


def shown(sent: Sent) -> str:
    """The answer without its sources."""
    return sent.text.partition("\n\n[1]")[0]


async def found(bot: ServedBot) -> Conversation:
    address = ConversationId("shop", ANN, thread=ACCOUNT)
    conversation = await bot.application.conversations.find(address)
    assert conversation is not None
    return conversation


async def until_state(bot: ServedBot, state: State) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        address = ConversationId("shop", ANN, thread=ACCOUNT)
        while True:
            conversation = await bot.application.conversations.find(address)
            if conversation is not None and conversation.state is state:
                return
            bot.application.inbox.wake()


# --- an app --------------------------------------------------------------------------------------


async def test_the_address_is_shown_to_be_ours(wecom: WeCom, app: ServedBot) -> None:
    echo = encrypt(b"1616140317555161061")
    query = sign(echo) | {"echostr": echo}
    async with app.http.get(wecom.callback_url, params=query) as response:
        assert (response.status, await response.text()) == (200, "1616140317555161061")
    async with app.http.get(wecom.callback_url, params=query | {"nonce": "1"}) as response:
        assert response.status == 401


async def test_questions_in_chinese_and_english_are_answered(wecom: WeCom, app: ServedBot) -> None:
    await wecom.says(QUESTION)
    await wecom.says(REFUND, user="lisi")
    sent = {one.to: shown(one) for one in await wecom.until_sent(2)}
    assert sent == {STAFF: ANSWER, "lisi": REFUNDED}


async def test_a_choice_is_made_by_its_number(wecom: WeCom, app: ServedBot) -> None:
    await wecom.says(DOUBTFUL)
    [asked] = await wecom.until_sent(1)
    number = next(line for line in asked.text.splitlines() if line.endswith(KEEP)).split(".")[0]
    await wecom.says(number)
    sent = await wecom.until_sent(2)
    assert shown(sent[1]) == ENTRIES[KEEP]


async def test_a_message_that_comes_four_times_is_answered_once(
    wecom: WeCom, app: ServedBot
) -> None:
    told = {"MsgType": "text", "Content": QUESTION, "MsgId": "77", "AgentID": AGENT}
    sealed = seal(xml(FromUserName=STAFF, CreateTime=int(time.time()), **told))
    for _ in range(4):
        assert await wecom.push(sealed.query, sealed.body) == 200
    await wecom.until_sent(1)
    await app.quiet()
    assert len(wecom.sent) == 1


async def test_what_wecom_did_not_sign_leaves_nothing(wecom: WeCom, app: ServedBot) -> None:
    before = await app.stored()
    sealed = seal(xml(FromUserName=STAFF, MsgType="text", Content="hi", MsgId="1", AgentID=AGENT))
    assert await wecom.push(sealed.query | {"msg_signature": "0" * 40}, sealed.body) == 401
    assert await wecom.push(sealed.query, sealed.body + b" " * 70_000) == 413
    assert await app.stored() == before


# --- a service account ---------------------------------------------------------------------------


async def test_a_customer_is_answered_with_a_menu(wecom: WeCom, service: ServedBot) -> None:
    await wecom.writes(QUESTION)
    [sent] = await wecom.until_sent(1)
    assert shown(sent) == ANSWER
    assert len(sent.menu) == 3
    names = sa.select(tables.message.c.sender_name).where(tables.message.c.role == "customer")
    assert await service.database.read(lambda c: list(c.execute(names).scalars())) == ["小安"]


async def test_a_choice_is_made_in_the_menu(wecom: WeCom, service: ServedBot) -> None:
    await wecom.writes(DOUBTFUL)
    [asked] = await wecom.until_sent(1)
    await wecom.clicks(asked, KEEP)
    sent = await wecom.until_sent(2)
    assert shown(sent[1]) == ENTRIES[KEEP]


async def test_who_comes_in_is_greeted_once_by_the_code_of_the_event(
    wecom: WeCom, service: ServedBot
) -> None:
    await wecom.enters()
    [greeting] = await wecom.until_sent(1)
    assert greeting.code.startswith("welcome-")
    await wecom.writes(QUESTION)
    sent = await wecom.until_sent(2)
    assert (shown(sent[1]), sent[1].code) == (ANSWER, "")


async def test_who_came_in_long_ago_is_not_greeted(wecom: WeCom, service: ServedBot) -> None:
    await wecom.event("enter_session", at=time.time() - 60, welcome_code="old")
    await wecom.writes(QUESTION)
    [sent] = await wecom.until_sent(1)
    assert shown(sent) == ANSWER


async def test_a_handoff_goes_all_the_way_round(wecom: WeCom, service: ServedBot) -> None:
    await wecom.writes(PERSON)
    await wecom.until_called("kf/service_state/trans")
    await service.quiet()
    assert wecom.states[ACCOUNT, ANN] == 2
    assert (await found(service)).state is State.WAITING
    said = len(wecom.sent)
    assert said == 1

    await wecom.writes("还在吗")
    await wecom.until_called("kf/service_state/get", 3)
    await service.quiet()
    assert (await found(service)).state is State.WAITING
    await wecom.takes()
    await until_state(service, State.AGENT)
    assert (await found(service)).agent == STAFF
    await wecom.writes(QUESTION)
    await wecom.answers("我来查一下")
    await service.quiet()
    assert len(wecom.sent) == said

    await wecom.ends()
    await until_state(service, State.CLOSED)
    await wecom.writes(QUESTION)
    sent = await wecom.until_sent(said + 1)
    assert shown(sent[-1]) == ANSWER


async def test_a_session_that_wecom_ended_by_itself_is_the_bots_again(
    wecom: WeCom, service: ServedBot
) -> None:
    await wecom.writes(PERSON)
    await wecom.until_called("kf/service_state/trans")
    await wecom.takes()
    await until_state(service, State.AGENT)
    said = len(wecom.sent)
    # After 48 hours without a word WeCom ends it, and tells nobody.
    wecom.states[ACCOUNT, ANN] = 4
    await wecom.writes(QUESTION)
    sent = await wecom.until_sent(said + 1)
    assert shown(sent[-1]) == ANSWER


async def test_nobody_is_answered_who_has_a_person_since_before_the_start(
    wecom: WeCom, served: Served
) -> None:
    await wecom.writes("在吗", ring=False)
    wecom.states[ACCOUNT, ANN] = 3
    await wecom.writes(QUESTION, ring=False)
    async with serving(wecom, served, kf_accounts=[ACCOUNT]) as bot:
        await wecom.until_called("kf/service_state/get")
        await until_state(bot, State.AGENT)
        await bot.quiet()
    assert wecom.sent == []


async def test_whom_the_accounts_own_rules_put_into_the_queue_is_not_answered(
    wecom: WeCom, service: ServedBot
) -> None:
    wecom.states[ACCOUNT, ANN] = 2
    await wecom.writes(QUESTION)
    await wecom.until_called("kf/service_state/get")
    await until_state(service, State.AGENT)
    await service.quiet()
    assert wecom.sent == []


async def test_what_was_written_while_we_were_away_is_answered_once_and_what_is_old_never(
    wecom: WeCom, served: Served
) -> None:
    long_ago = int(time.time()) - 2 * 3600
    await wecom.writes("怎么开发票", ring=False, customer="wmOld", send_time=long_ago)
    await wecom.writes(QUESTION, ring=False)
    for _ in range(2):
        async with serving(wecom, served, kf_accounts=[ACCOUNT]) as bot:
            await wecom.until_sent(1)
            await bot.quiet()
            wecom.calls.clear()
    assert [(one.to, shown(one)) for one in wecom.sent] == [(ANN, ANSWER)]


async def test_a_backlog_of_many_pages_is_read_in_order(wecom: WeCom, served: Served) -> None:
    wecom.page = 3
    for number in range(10):
        await wecom.writes(f"{QUESTION}", ring=False, customer=f"wm{number}")
    async with serving(wecom, served, kf_accounts=[ACCOUNT]) as bot:
        await wecom.until_sent(10)
        await bot.quiet()
    assert sorted(one.to for one in wecom.sent) == [f"wm{number}" for number in range(10)]


async def test_a_call_that_came_too_late_is_read_without_its_token(
    wecom: WeCom, service: ServedBot
) -> None:
    await wecom.writes(QUESTION, ring=False)
    told: dict[str, Any] = {"Event": "kf_msg_or_event", "Token": "old", "OpenKfId": ACCOUNT}
    await wecom.post(xml(ToUserName=CORP, CreateTime=1, MsgType="event", **told))
    [sent] = await wecom.until_sent(1)
    assert shown(sent) == ANSWER


async def test_an_account_that_cannot_be_read_is_read_later(
    wecom: WeCom,
    service: ServedBot,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(feed, "LONGEST_PAUSE_SECONDS", 0.0)
    wecom.faults["kf/sync_msg"] = [Fault(-1), Fault(status=503)]
    await wecom.writes(QUESTION)
    [sent] = await wecom.until_sent(1)
    assert shown(sent) == ANSWER
    assert "not read yet" in caplog.text
    assert "channel down" not in caplog.text


async def test_names_and_sessions_that_wecom_does_not_tell_stop_no_answer(
    wecom: WeCom, service: ServedBot
) -> None:
    wecom.faults["kf/customer/batchget"] = [Fault(48002)]
    wecom.faults["kf/service_state/get"] = [Fault(-1)]
    await wecom.writes(QUESTION)
    await wecom.until_sent(1)
    await wecom.writes(REFUND, customer="wmBob")
    sent = await wecom.until_sent(2)
    assert [shown(one) for one in sent] == [ANSWER, REFUNDED]
    assert [path for path, _ in wecom.calls].count("kf/customer/batchget") == 1


async def test_news_of_an_account_that_is_not_ours_is_left_alone(
    wecom: WeCom, service: ServedBot
) -> None:
    calls = len(wecom.calls)
    told: dict[str, Any] = {"Event": "kf_msg_or_event", "Token": "t", "OpenKfId": "wkOther"}
    await wecom.post(xml(ToUserName=CORP, CreateTime=1, MsgType="event", **told))
    await service.quiet()
    assert (wecom.answered[-1], len(wecom.calls)) == (200, calls)


async def test_what_did_not_reach_a_customer_is_said_in_the_log(
    wecom: WeCom, service: ServedBot, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="adapters.wecom.feed"):
        await wecom.event("msg_send_fail", fail_msgid="m", fail_type=10)
        await wecom.writes(QUESTION)
        await wecom.until_sent(1)
    assert "the customer refuses messages" in caplog.text


async def test_the_position_moves_on_only_once_a_page_is_stored(wecom: WeCom) -> None:
    wecom.page = 2
    for number in range(3):
        await wecom.writes(f"{number}", ring=False)
    given = {"corp_id": CORP, "secret": SECRET, "token": TOKEN, "encoding_aes_key": AES_KEY}
    section = {"platform": "wecom", "api_base": wecom.url, "kf_accounts": [ACCOUNT]} | given
    async with WeComAdapter("shop", WeComSettings.model_validate(section)) as adapter:
        events = adapter.listen()
        seen = [await anext(events), await anext(events)]
        # The second event is not stored yet: whoever is stopped here begins with the page again.
        assert [body["cursor"] for path, body in wecom.calls if path == "kf/sync_msg"] == [""]
        await aclose(events)
        again = adapter.listen()
        seen += [await anext(again) for _ in range(3)]
        await aclose(again)
    assert [one.text for one in seen if isinstance(one, MessageReceived)] == list("01012")
