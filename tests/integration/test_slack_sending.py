"""What the Slack adapter calls, and what it makes of every answer; the stand-in is real HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from adapters.slack import SlackAdapter, SlackSettings
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, KfbotError, MessageRejected
from kfbot.messages import (
    Attachment,
    Button,
    Citation,
    ConversationId,
    DeliveryReceipt,
    OutboundMessage,
    Sender,
)
from tests.platforms.slack import APP_TOKEN, BOT_TOKEN, CHANNEL, DIRECT, Failure, Slack

pytestmark = pytest.mark.asyncio
HOME = ConversationId("shop", DIRECT)
THREAD = ConversationId("shop", CHANNEL, "1700000000.000001")


def message(text: str = "hello", where: ConversationId = HOME, **fields: Any) -> OutboundMessage:
    return OutboundMessage(conversation=where, id="msg_1", text=text, **fields)


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as stand_in:
        yield stand_in


@pytest.fixture
def make(slack: Slack) -> Callable[..., SlackAdapter]:
    def make(**change: str) -> SlackAdapter:
        section = {"platform": "slack", "api_base": slack.api_base}
        section |= {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN} | change
        return SlackAdapter("shop", SlackSettings.model_validate(section))

    return make


@pytest_asyncio.fixture
async def adapter(make: Callable[..., SlackAdapter]) -> AsyncIterator[SlackAdapter]:
    async with make() as opened:
        yield opened


# --- sending -------------------------------------------------------------------------------------


async def test_the_receipt_names_the_message_and_the_thread_gets_it(
    slack: Slack, adapter: SlackAdapter
) -> None:
    receipt = await adapter.send(message(where=THREAD))
    [posted] = slack.said(CHANNEL, THREAD.thread)
    assert receipt == DeliveryReceipt((posted["ts"],))


async def test_an_agents_words_bear_the_agents_name(slack: Slack, adapter: SlackAdapter) -> None:
    await adapter.send(message(sender=Sender("7", "agent", "Ann <!here>")))
    assert slack.said(DIRECT)[0]["text"] == "*Ann &lt;!here&gt;*\n\nhello"


async def test_everything_at_once_is_a_form_that_slack_takes(
    slack: Slack, adapter: SlackAdapter
) -> None:
    await adapter.send(
        message(
            "&<>" * 3000,
            citations=tuple(Citation(id=f"d{n}", title="t" * 999) for n in range(30)),
            buttons=tuple(Button(f"tok{n}", "选择" * 99) for n in range(60)),
        )
    )
    blocks = slack.said(DIRECT)[0]["blocks"]
    assert {block["type"] for block in blocks} == {"section", "context", "actions"}
    shown = "".join(block["text"]["text"] for block in blocks if block["type"] == "section")
    assert shown == "&amp;&lt;&gt;" * 3000


async def test_buttons_without_words_are_sent(slack: Slack, adapter: SlackAdapter) -> None:
    await adapter.send(message("", buttons=(Button("tok", "Yes & no"),)))
    assert slack.said(DIRECT)[0]["text"] == "Yes &amp; no"


async def test_nothing_at_all_is_never_sent(slack: Slack, adapter: SlackAdapter) -> None:
    with pytest.raises(MessageRejected, match="nothing in the message"):
        await adapter.send(message(" \n"))
    assert slack.calls == []


async def test_blocks_that_slack_does_not_like_are_sent_as_text(
    slack: Slack, adapter: SlackAdapter
) -> None:
    slack.failures["chat.postMessage"] = [Failure("invalid_blocks_format")]
    await adapter.send(message("**hello**"))
    [posted] = slack.said(DIRECT)
    assert posted["text"] == "*hello*"
    assert "blocks" not in posted


LATER = [
    Failure("ratelimited", 429, {"Retry-After": "30"}),
    Failure("ratelimited", 200, {"Retry-After": "30"}),
    Failure("internal_error"),
    Failure("service_unavailable", 503),
    Failure("fatal_error", 500),
    Failure(status=502, body="<html>bad gateway</html>"),
    Failure(status=200, body="<html>a proxy says hello</html>"),
    Failure(status=429, body=""),
]
REFUSED = [
    Failure("invalid_auth"),
    Failure("invalid_auth", 401),
    Failure("token_revoked"),
    Failure("account_inactive"),
    Failure("missing_scope"),
    Failure(status=403, body="forbidden"),
]
NEVER = [
    Failure("channel_not_found"),
    Failure("is_archived"),
    Failure("not_in_channel"),
    Failure("msg_too_long"),
    Failure("something_new"),
]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        *((failure, ChannelUnavailable) for failure in LATER),
        *((failure, ChannelUnauthorized) for failure in REFUSED),
        *((failure, MessageRejected) for failure in NEVER),
    ],
    ids=str,
)
async def test_what_slack_answers_tells_whether_to_try_again(
    slack: Slack, adapter: SlackAdapter, failure: Failure, kind: type[KfbotError]
) -> None:
    slack.failures["chat.postMessage"] = [failure]
    with pytest.raises(kind) as raised:
        await adapter.send(message())
    assert failure.error in str(raised.value)
    wanted = 30.0 if failure.headers else None
    assert getattr(raised.value, "retry_after_seconds", None) == wanted


async def test_who_is_not_in_the_channel_is_told_to_be_invited(
    slack: Slack, adapter: SlackAdapter
) -> None:
    slack.failures["chat.postMessage"] = [Failure("not_in_channel")]
    with pytest.raises(MessageRejected, match="invite it"):
        await adapter.send(message())


async def test_no_answer_in_time_is_unavailable(
    slack: Slack, make: Callable[..., SlackAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.slack.TIMEOUT_SECONDS", 0.2)
    slack.failures["chat.postMessage"] = [Failure(hangs=True)]
    async with make() as adapter:
        with pytest.raises(ChannelUnavailable, match="did not answer"):
            await adapter.send(message())


async def test_nobody_there_is_unavailable(make: Callable[..., SlackAdapter]) -> None:
    async with make(api_base="http://127.0.0.1:9/api/") as adapter:
        with pytest.raises(ChannelUnavailable):
            await adapter.send(message())
        with pytest.raises(ChannelUnavailable):
            await adapter.check()


async def test_a_closed_adapter_sends_nothing(make: Callable[..., SlackAdapter]) -> None:
    with pytest.raises(ChannelUnavailable, match="not open"):
        await make().send(message())


# --- editing, typing -----------------------------------------------------------------------------


async def test_an_edit_replaces_text_and_buttons(slack: Slack, adapter: SlackAdapter) -> None:
    receipt = await adapter.send(message(buttons=(Button("tok", "Yes"),)))
    await adapter.edit(receipt, message("goodbye"))
    [posted] = slack.said(DIRECT)
    assert posted["text"] == "goodbye"
    assert [block["type"] for block in posted["blocks"]] == ["section"]


async def test_an_edit_of_an_unknown_message_is_never_taken(adapter: SlackAdapter) -> None:
    for receipt in (DeliveryReceipt(("1.1",)), DeliveryReceipt()):
        with pytest.raises(MessageRejected):
            await adapter.edit(receipt, message())


async def test_typing_is_shown_in_threads(slack: Slack, adapter: SlackAdapter) -> None:
    await adapter.show_typing(HOME)
    await adapter.show_typing(THREAD)
    [(method, given)] = slack.calls
    assert (method, given["thread_ts"]) == ("assistant.threads.setStatus", THREAD.thread)


async def test_a_slack_that_shows_no_typing_is_asked_once(
    slack: Slack, adapter: SlackAdapter
) -> None:
    slack.unknown = {"assistant.threads.setStatus"}
    await adapter.show_typing(THREAD)
    await adapter.show_typing(THREAD)
    assert len(slack.calls) == 1


# --- files ---------------------------------------------------------------------------------------


async def test_a_shared_file_is_fetched_with_the_token(slack: Slack, adapter: SlackAdapter) -> None:
    file = Attachment(f"{slack.root}/files/receipt")
    assert await adapter.fetch(file) == b"receipt" * 10


async def test_the_token_is_shown_to_nobody_else(slack: Slack, adapter: SlackAdapter) -> None:
    async with Slack() as elsewhere:
        for url in (f"{elsewhere.root}/files/x", "https://files.slack.com.evil.example/x", "x"):
            with pytest.raises(MessageRejected, match="not at Slack"):
                await adapter.fetch(Attachment(url))


async def test_a_file_that_may_not_be_read_follows_no_redirect(
    slack: Slack, make: Callable[..., SlackAdapter]
) -> None:
    async with make(bot_token="xoxb-stranger") as stranger:
        with pytest.raises(MessageRejected, match="files:read"):
            await stranger.fetch(Attachment(f"{slack.root}/files/receipt"))


async def test_a_file_that_is_too_large_is_refused(
    slack: Slack, adapter: SlackAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.slack.files.LARGEST_FILE", 10)
    with pytest.raises(MessageRejected, match="over 10 bytes"):
        await adapter.fetch(Attachment(f"{slack.root}/files/receipt"))


# --- checking, secrets ---------------------------------------------------------------------------


async def test_check_says_who_the_bot_is(make: Callable[..., SlackAdapter]) -> None:
    assert await make().check() == "kfbot in Shop"


@pytest.mark.parametrize("name", ["bot_token", "app_token"])
async def test_check_refuses_a_wrong_token_and_names_it(
    make: Callable[..., SlackAdapter], name: str
) -> None:
    with pytest.raises(ChannelUnauthorized, match=rf"{name}: Slack answers invalid_auth: copy"):
        await make(**{name: f"{'xapp' if name == 'app_token' else 'xoxb'}-wrong"}).check()


async def test_tokens_are_in_no_log_error_or_repr(
    slack: Slack, make: Callable[..., SlackAdapter], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    failures = [Failure("invalid_auth"), Failure(status=502, body="x"), Failure("is_archived")]
    slack.failures["chat.postMessage"] = failures.copy()
    slack.failures["apps.connections.open"] = [Failure("invalid_auth")]
    said = []
    async with make() as adapter:
        for _ in failures:
            with pytest.raises(KfbotError) as raised:
                await adapter.send(message())
            said.append(repr(raised.value.__cause__) + repr(raised.value) + str(raised.value))
        with pytest.raises(KfbotError):
            await adapter.check()
        said.append(f"{adapter!r} {adapter.settings!r} {adapter.settings}")
    everything = "".join([*said, caplog.text, *map(repr, (one.__dict__ for one in caplog.records))])
    assert BOT_TOKEN not in everything
    assert APP_TOKEN not in everything
    assert "ticket=" not in everything


# --- socket mode ---------------------------------------------------------------------------------


async def test_an_envelope_is_acknowledged_when_the_next_event_is_asked_for(
    slack: Slack, adapter: SlackAdapter
) -> None:
    slack.ack_seconds = 0.1
    telling = asyncio.create_task(slack.tell(slack.says("hi")))
    events = adapter.listen()
    first = await anext(events)
    await slack.until_sent(2)
    assert slack.acknowledged == []
    again = await anext(events)
    assert await telling >= 2
    assert again.event_id == first.event_id


async def test_junk_on_the_websocket_is_left_out(slack: Slack, adapter: SlackAdapter) -> None:
    junk = ["", "nonsense", "[]", "7", '{"type": "events_api"}', "[" * 50_000]
    envelopes = [
        {"type": "events_api", "envelope_id": "e1"},
        {"type": "events_api", "envelope_id": "e2", "payload": {"type": "event_callback"}},
        {"type": "unheard", "envelope_id": "e3", "payload": {"type": "unheard"}},
        {"type": "interactive", "envelope_id": "e4", "payload": {"type": "view_submission"}},
    ]
    events = adapter.listen()
    waiting = asyncio.ensure_future(anext(events))
    connection = await slack.connection()
    for text in junk:
        await connection.send_str(text)
    for envelope in envelopes:
        await connection.send_json(envelope)
    telling = asyncio.create_task(slack.tell(slack.says("x" * 10_000_000)))
    event = await waiting
    assert len(getattr(event, "text", "")) == 40_000
    assert slack.acknowledged == ["e1", "e2", "e3", "e4"]
    telling.cancel()


async def test_a_slack_that_is_down_is_tried_again_and_then_given_back(
    slack: Slack, adapter: SlackAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.slack.sockets._LONGEST_PAUSE_SECONDS", 0.01)
    slack.failures["apps.connections.open"] = [Failure("fatal_error")] * 3
    events = adapter.listen()
    telling = asyncio.create_task(slack.tell(slack.says("hi")))
    assert getattr(await anext(events), "text", "") == "hi"
    telling.cancel()
    slack.failures["apps.connections.open"] = [Failure("fatal_error")] * 99
    await slack.disconnect()
    with pytest.raises(ChannelUnavailable, match="fatal_error"):
        await anext(events)


async def test_connections_that_end_at_once_are_not_opened_for_ever(
    slack: Slack, adapter: SlackAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.slack.sockets._LONGEST_PAUSE_SECONDS", 0.01)
    ending = asyncio.create_task(_refuse_all(slack))
    with pytest.raises(ChannelUnavailable, match="ends every connection"):
        async with asyncio.timeout(60):
            await anext(adapter.listen())
    ending.cancel()
    assert slack.connected <= 6


async def _refuse_all(slack: Slack) -> None:
    while True:
        await slack.disconnect("too_many_websockets")
        await asyncio.sleep(0)
