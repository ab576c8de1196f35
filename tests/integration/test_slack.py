"""The whole bot in Slack: the stand-in on one side, a fake knowledge base on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from kfbot.cli import checking
from kfbot.errors import StoreUnavailable
from kfbot.messages import ConversationId, InboundEvent, MessageReceived, Sender
from kfbot.settings import load_settings
from kfbot.store.acceptance import Accepted
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.slack import (
    APP_TOKEN,
    BOT,
    BOT_TOKEN,
    CHANNEL,
    DIRECT,
    SIGNING_SECRET,
    Failure,
    Slack,
)

pytestmark = pytest.mark.asyncio

QUESTION = "When will my refund arrive?"
REFUND = "Within *2 business days*."
RETURN = "How do I return an item?"
CALL = f"<@{BOT}>"


@dataclass
class Workspace:
    """Slack, the bot in it, and the time that both have."""

    slack: Slack
    bot: ServedBot
    clock: Clock

    async def tell(self, *events: dict[str, Any]) -> list[int]:
        """Let Slack tell of events; waits for what comes of them."""
        tries = [await self.slack.tell(event) for event in events]
        await self.settle()
        return tries

    async def settle(self) -> None:
        """Until nothing is left to be sent, a second between two messages of a channel."""
        await self.bot.quiet()
        for _ in range(3):
            self.clock.advance(seconds=2)
            await self.bot.quiet()

    def said(self, channel: str = DIRECT, thread: str | None = None) -> list[str]:
        return [message["text"] for message in self.slack.said(channel, thread)]


@asynccontextmanager
async def opened(
    served: Served, clock: Clock, mode: str, slack: Slack, **options: Any
) -> AsyncIterator[Workspace]:
    secrets = {"signing_secret": SIGNING_SECRET} if mode == "http" else {"app_token": APP_TOKEN}
    section = {"platform": "slack", "bot_token": BOT_TOKEN, "api_base": slack.api_base} | secrets
    async with served(clock=clock, sections={"shop": section}, **options) as bot:
        slack.request_url = f"{bot.url}/webhooks/shop" if mode == "http" else ""
        yield Workspace(slack, bot, clock)


@pytest.fixture(params=["http", "socket"])
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as stand_in:
        yield stand_in


@pytest_asyncio.fixture
async def shop(served: Served, clock: Clock, mode: str, slack: Slack) -> AsyncIterator[Workspace]:
    async with opened(served, clock, mode, slack) as workspace:
        yield workspace


# --- conversations -------------------------------------------------------------------------------


async def test_a_direct_message_is_answered_beside_it_and_told_once(shop: Workspace) -> None:
    assert await shop.tell(shop.slack.says(QUESTION)) == [1]
    [answer] = shop.slack.said(DIRECT)
    assert answer["text"] == REFUND
    assert "thread_ts" not in answer


async def test_the_answer_shows_its_source_and_asks_whether_it_helped(shop: Workspace) -> None:
    await shop.tell(shop.slack.says(QUESTION))
    section, sources, actions = shop.slack.said(DIRECT)[0]["blocks"]
    assert section["text"] == {"type": "mrkdwn", "text": REFUND, "verbatim": True}
    assert "[1]" in sources["elements"][0]["text"]
    assert [one["type"] for one in actions["elements"]] == ["button"] * len(actions["elements"])
    [(_, asked)] = [call for call in shop.slack.calls if call[0] == "chat.postMessage"]
    assert (asked["parse"], asked["link_names"], asked["unfurl_links"]) == ("none", False, False)


async def test_a_mention_that_comes_twice_is_one_turn_in_its_thread(shop: Workspace) -> None:
    event = shop.slack.says(f"{CALL} {QUESTION}", CHANNEL)
    await shop.tell(shop.slack.mention_of(event), event)
    assert shop.said(CHANNEL) == shop.said(CHANNEL, event["ts"]) == [REFUND]


@pytest.mark.parametrize("kind", ["message", "app_mention"])
async def test_a_mention_that_comes_in_one_form_only_is_answered(
    shop: Workspace, kind: str
) -> None:
    event = shop.slack.says(f"{CALL} {QUESTION}", CHANNEL)
    await shop.tell(event if kind == "message" else shop.slack.mention_of(event))
    assert shop.said(CHANNEL, event["ts"]) == [REFUND]


async def test_talk_of_people_in_a_channel_is_left_alone(shop: Workspace) -> None:
    event = shop.slack.says(QUESTION, CHANNEL)
    await shop.tell(event, shop.slack.says(QUESTION, CHANNEL, thread_ts=event["ts"]))
    assert shop.said(CHANNEL) == []


async def test_a_thread_with_the_bot_goes_on_without_mentions(shop: Workspace) -> None:
    event = shop.slack.says(f"{CALL} {QUESTION}", CHANNEL)
    await shop.tell(event)
    follow_up = shop.slack.says(RETURN, CHANNEL, thread_ts=event["ts"])
    to_bob = shop.slack.says(f"<@U0BOB> {RETURN}", CHANNEL, thread_ts=event["ts"])
    await shop.tell(follow_up, to_bob)
    assert shop.said(CHANNEL, event["ts"]) == [REFUND, ENTRIES[RETURN]]


async def test_a_thread_goes_on_after_a_restart(
    served: Served, clock: Clock, mode: str, slack: Slack
) -> None:
    async with opened(served, clock, mode, slack) as shop:
        event = slack.says(f"{CALL} {QUESTION}", CHANNEL)
        await shop.tell(event)
    async with opened(served, clock, mode, slack) as shop:
        await shop.tell(slack.says(RETURN, CHANNEL, thread_ts=event["ts"]))
        assert shop.said(CHANNEL, event["ts"]) == [REFUND, ENTRIES[RETURN]]


async def test_a_slack_that_knows_only_what_is_needed_gets_its_answers(
    served: Served, clock: Clock, mode: str, slack: Slack
) -> None:
    needed = {"auth_test", "apps_connections_open", "chat_postMessage"}
    methods = {name.removeprefix("_api_") for name in dir(slack) if name.startswith("_api_")}
    slack.unknown = {name.replace("_", ".") for name in methods - needed}
    async with opened(served, clock, mode, slack) as shop:
        event = slack.says(f"{CALL} {QUESTION}", CHANNEL)
        await shop.tell(event, slack.says(RETURN, CHANNEL, thread_ts=event["ts"]))
        others = slack.says(QUESTION, CHANNEL)
        await shop.tell(others, slack.says("and you?", CHANNEL, thread_ts=others["ts"]))
        assert shop.said(CHANNEL) == [REFUND, ENTRIES[RETURN]]


async def test_threads_are_conversations_of_their_own(shop: Workspace) -> None:
    person = shop.slack.says(f"{CALL} I want to talk to a human, please.", CHANNEL)
    await shop.tell(person)
    other = shop.slack.says(f"{CALL} {QUESTION}", CHANNEL)
    await shop.tell(other)
    assert len(shop.said(CHANNEL, person["ts"])) == 1
    assert shop.said(CHANNEL, other["ts"]) == [REFUND]


async def test_a_button_is_pressed_for_its_choice(shop: Workspace) -> None:
    await shop.tell(shop.slack.says(DOUBTFUL))
    offer = shop.slack.said(DIRECT)[0]
    [actions] = [block for block in offer["blocks"] if block["type"] == "actions"]
    label = actions["elements"][0]["text"]["text"]
    assert await shop.slack.press(offer, label) == 1
    await shop.settle()
    assert shop.said()[-1] == ENTRIES[label].replace("**", "*")


async def test_an_edit_that_changes_the_question_is_answered_again(shop: Workspace) -> None:
    event = shop.slack.says(QUESTION)
    await shop.tell(event)
    await shop.tell(shop.slack.edits(event, QUESTION, attachments=[{"from_url": "https://x"}]))
    assert shop.said() == [REFUND]
    await shop.tell(shop.slack.edits(event, RETURN))
    assert shop.said() == [REFUND, ENTRIES[RETURN]]


async def test_a_mention_that_is_edited_in_is_answered_once(shop: Workspace) -> None:
    event = shop.slack.says(QUESTION, CHANNEL)
    edit = shop.slack.edits(event, f"{CALL} {QUESTION}")
    again = shop.slack.mention_of(edit["message"] | {"channel": CHANNEL})
    await shop.tell(event, again, edit)
    assert shop.said(CHANNEL, event["ts"]) == [REFUND]


async def test_bots_and_the_bot_itself_are_never_answered(shop: Workspace) -> None:
    ci = {"subtype": "bot_message", "bot_id": "B0CI"}
    await shop.tell(
        shop.slack.says(f"{CALL} {QUESTION}", CHANNEL, **ci),
        shop.slack.says(QUESTION, user=BOT),
        shop.slack.says(QUESTION, user="U0OTHER", bot_id="B0OTHER"),
    )
    assert shop.said(CHANNEL) == []
    assert [message["text"] for message in shop.slack.said(DIRECT)] == [QUESTION]


async def test_a_slash_command_reaches_the_core_as_it_was_typed(shop: Workspace) -> None:
    assert await shop.slack.command("/kb", "status") == 1
    await shop.settle()
    _, body = await shop.bot.get(f"/api/v1/conversations/{await shop.bot.id_of(DIRECT, 'shop')}")
    assert body["data"]["transcript"][0]["text"] == "/kb status"


async def test_what_a_customer_writes_cannot_call_everybody(shop: Workspace) -> None:
    shop.bot.knowledge.entries = {"who?": "Ask <!channel>, @here or <@U0ANN> in <#C0HELP>."}
    await shop.tell(shop.slack.says("who?"))
    assert shop.said() == ["Ask &lt;!channel&gt;, @here or &lt;@U0ANN&gt; in &lt;#C0HELP&gt;."]


# --- faults --------------------------------------------------------------------------------------


async def test_an_event_that_is_told_again_is_answered_once(shop: Workspace) -> None:
    event = shop.slack.says(QUESTION)
    for _ in range(3):
        assert await shop.slack.tell(event, "Ev0SAME") == 1
    await shop.settle()
    assert shop.said() == [REFUND]


async def test_what_was_not_stored_is_not_acknowledged_and_comes_again(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.slack.ack_seconds = 0.3
    accept, failing = shop.bot.application.inbox.accept, [True]

    async def fails_once(event: InboundEvent) -> Accepted:
        if failing:
            failing.pop()
            raise StoreUnavailable("the disk is full")
        return await accept(event)

    monkeypatch.setattr(shop.bot.application.inbox, "accept", fails_once)
    shop.slack.tries = 20
    assert (await shop.tell(shop.slack.says(QUESTION)))[0] > 1
    assert shop.said() == [REFUND]


async def test_a_commit_that_takes_long_holds_up_no_other_acknowledgement(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, slow, go_on = shop.bot.application.inbox.accept, [True], asyncio.Event()

    async def waits_once(event: InboundEvent) -> Accepted:
        if slow:
            slow.pop()
            await go_on.wait()
        return await accept(event)

    monkeypatch.setattr(shop.bot.application.inbox, "accept", waits_once)
    first = asyncio.create_task(shop.slack.tell(shop.slack.says(QUESTION)))
    while slow:
        await shop.bot.get("/readyz")
    assert await shop.slack.tell(shop.slack.says(RETURN, "D0BOB", user="U0BOB")) == 1
    go_on.set()
    assert await first == 1
    await shop.settle()
    assert (shop.said(), shop.said("D0BOB")) == ([REFUND], [ENTRIES[RETURN]])


async def test_a_limit_is_waited_for_and_the_order_kept(shop: Workspace) -> None:
    limit = Failure("ratelimited", 429, {"Retry-After": "30"})
    shop.slack.failures["chat.postMessage"] = [limit]
    await shop.tell(shop.slack.says(QUESTION), shop.slack.says(RETURN))
    assert shop.said() == []
    shop.clock.advance(seconds=31)
    await shop.settle()
    assert shop.said() == [REFUND, ENTRIES[RETURN]]


async def test_a_revoked_token_stops_the_channel_and_no_other(
    served: Served, clock: Clock, mode: str, slack: Slack
) -> None:
    other = FakeAdapter("other")
    async with opened(served, clock, mode, slack, channels={"other": other}) as shop:
        slack.failures["chat.postMessage"] = [Failure("token_revoked")] * 9
        await shop.tell(slack.says(QUESTION))
        other.say(
            MessageReceived(
                event_id="1",
                conversation=ConversationId("other", "c"),
                message_id="1",
                sender=Sender("7"),
                sent_at=datetime.now(UTC),
                text=QUESTION,
            )
        )
        async with asyncio.timeout(60):
            while not other.sent:
                await shop.settle()
        assert [message.text for message in other.sent] == [ENTRIES[QUESTION]]
        status, body = await shop.bot.get("/readyz")
        assert status == 503
        [reason] = body["reasons"]
        assert "bot_token: Slack answers token_revoked: install the app" in reason


async def test_kfbot_check_tries_the_tokens(slack: Slack) -> None:
    async def finding(**change: str) -> tuple[str, str]:
        section = {"platform": "slack", "bot_token": BOT_TOKEN, "app_token": APP_TOKEN}
        section |= {"api_base": slack.api_base} | change
        settings = load_settings(None, overrides={"channels": {"shop": section}})
        [found] = [one async for one in checking._look_at_channels(settings)]
        return found.state, found.text

    assert await finding() == ("ok", "shop (slack): kfbot in Shop")
    state, text = await finding(bot_token="xoxb-wrong")
    assert (state, "copy the token again" in text) == ("wrong", True)
    assert (await finding(api_base="http://127.0.0.1:9/"))[0] == "note"
    assert (await finding(app_token=""))[0] == "wrong"


async def test_a_refused_app_token_stops_listening_and_says_so(
    served: Served, clock: Clock, slack: Slack
) -> None:
    async with opened(served, clock, "socket", slack) as shop:
        await shop.tell(slack.says(QUESTION))
        slack.failures["apps.connections.open"] = [Failure("invalid_auth")] * 9
        await slack.disconnect()
        async with asyncio.timeout(60):
            while "shop" not in shop.bot.application.outbox.stopped:
                await shop.bot.get("/readyz")
        reason = shop.bot.application.outbox.stopped["shop"]
        assert "app_token: Slack answers invalid_auth: copy the token again" in reason


async def test_a_closed_connection_is_renewed_and_nothing_lost(
    served: Served, clock: Clock, slack: Slack
) -> None:
    async with opened(served, clock, "socket", slack) as shop:
        await shop.tell(slack.says(QUESTION))
        await slack.disconnect()
        assert (await shop.tell(slack.says(RETURN)))[0] >= 1
        assert slack.connected == 2
        assert shop.said() == [REFUND, ENTRIES[RETURN]]


async def test_what_comes_on_a_connection_that_will_close_is_taken(
    served: Served, clock: Clock, slack: Slack
) -> None:
    async with opened(served, clock, "socket", slack) as shop:
        old = await slack.connection()
        await slack.disconnect("warning", close=False)
        async with asyncio.timeout(60):
            while slack.connected < 2:
                await shop.bot.get("/readyz")
        slack.connections.remove(old)
        slack.connections.append(old)
        assert await shop.tell(slack.says(QUESTION)) == [1]
        slack.connections.remove(old)
        slack.connections.insert(0, old)
        await old.close()
        assert await shop.tell(slack.says(RETURN)) == [1]
        assert slack.connected == 2
        assert shop.said() == [REFUND, ENTRIES[RETURN]]
