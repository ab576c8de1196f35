"""Cases in a Slack channel of agents, over the stand-in, in both modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.cli import checking
from kfbot.settings import load_settings
from kfbot.texts import texts, thread_texts
from tests.conftest import Clock
from tests.integration.conftest import Served
from tests.integration.test_slack import QUESTION, Workspace
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

TEAM = "C0TEAM"
ZOE, BEN = "U0ZOE", "U0BEN"
UNKNOWN = "Do you sell coffee machines?"
SAYS = thread_texts("en")


@pytest.fixture(params=["http", "socket"])
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as stand_in:
        yield stand_in


@pytest_asyncio.fixture
async def shop(
    served: Served,
    clock: Clock,
    mode: str,
    slack: Slack,
) -> AsyncIterator[Workspace]:
    secrets = {"signing_secret": SIGNING_SECRET} if mode == "http" else {"app_token": APP_TOKEN}
    section = {
        "platform": "slack", "bot_token": BOT_TOKEN, "api_base": slack.api_base,
        "agents_chat": TEAM, "admins": [ZOE],
    }  # fmt: skip
    async with served(clock=clock, sections={"shop": section | secrets}) as bot:
        slack.request_url = f"{bot.url}/webhooks/shop" if mode == "http" else ""
        yield Workspace(slack, bot, clock)


async def case(shop: Workspace) -> str:
    """Open a case; returns the ts of its thread."""
    await shop.tell(shop.slack.says(UNKNOWN))
    await shop.settle()
    [root, _] = shop.slack.said(TEAM)
    ts: str = root["ts"]
    return ts


async def agent_says(shop: Workspace, text: str, thread: str, user: str = ZOE) -> None:
    await shop.tell(shop.slack.says(text, TEAM, user=user, thread_ts=thread))
    await shop.settle()


async def test_a_case_is_a_message_with_its_thread_and_buttons(shop: Workspace) -> None:
    thread = await case(shop)
    [root, post] = shop.slack.said(TEAM)
    assert root["text"] == f"⏳ #1 · {UNKNOWN}"
    assert "thread_ts" not in root
    assert post["thread_ts"] == thread
    assert f"> {UNKNOWN}" in post["text"]
    labels = [one["text"]["text"] for one in post["blocks"][-1]["elements"]]
    assert labels == [SAYS.claim, SAYS.hand_back, SAYS.resolve]


async def titled(shop: Workspace, title: str) -> None:
    """Until the thread of the case is called so: nothing waits for that."""
    async with asyncio.timeout(60):
        while shop.slack.said(TEAM)[0]["text"] != title:
            await shop.settle()


async def test_an_agent_and_a_customer_talk_through_the_thread(shop: Workspace) -> None:
    thread = await case(shop)
    await agent_says(shop, "Yes &amp; no.", thread)
    assert shop.said(DIRECT)[-1] == "*Zoe*\n\nYes &amp; no."
    assert shop.said(TEAM, thread)[-1] == "*Zoe* has it."
    await shop.tell(shop.slack.says("How much is it?"))
    await shop.settle()
    assert shop.said(TEAM, thread)[-1] == "*Customer*\n\n> How much is it?"
    await titled(shop, f"💬 Zoe · #1 · {UNKNOWN}")


async def test_buttons_claim_and_resolve_and_a_second_agent_comes_too_late(
    shop: Workspace,
) -> None:
    thread = await case(shop)
    post = shop.slack.said(TEAM, thread)[0]
    await shop.slack.press(post, SAYS.claim, channel=TEAM, user=ZOE)
    await shop.settle()
    await shop.slack.press(post, SAYS.claim, channel=TEAM, user=BEN)
    await shop.settle()
    assert shop.said(TEAM, thread)[-2:] == ["*Zoe* has it.", SAYS.taken.format(agent="Zoe")]
    await shop.slack.press(post, SAYS.resolve, channel=TEAM, user=ZOE)
    await shop.settle()
    assert shop.said(DIRECT)[-1] == texts("en").resolved
    await titled(shop, f"✅ #1 · {UNKNOWN}")


async def test_a_command_is_given_by_a_mention_in_the_thread(shop: Workspace) -> None:
    thread = await case(shop)
    event = shop.slack.says(f"<@{BOT}> /resume", TEAM, user=ZOE, thread_ts=thread)
    await shop.tell(event, shop.slack.mention_of(event))
    await shop.settle()
    assert shop.said(DIRECT)[-1] == texts("en").handback
    assert shop.said(DIRECT).count(texts("en").handback) == 1
    await shop.tell(shop.slack.says(QUESTION))
    assert shop.said(DIRECT)[-1].startswith("Within *2 business days*.")


async def test_a_note_stays_among_agents(shop: Workspace) -> None:
    thread = await case(shop)
    before = shop.said(DIRECT)
    await agent_says(shop, "// a regular, be nice", thread)
    assert shop.said(DIRECT) == before
    assert "regular" not in "\n".join(shop.said(TEAM))


async def test_what_a_customer_writes_pings_nobody(shop: Workspace) -> None:
    words = "<!channel> <@U0ZOE> @here <!subteam^S1> *all* of you, a person please?"
    await shop.tell(shop.slack.says(words.replace("<", "&lt;").replace(">", "&gt;")))
    await shop.settle()
    for message in shop.slack.said(TEAM):
        assert "<!" not in message["text"]
        assert "<@" not in message["text"]
    for method, given in shop.slack.calls:
        if method in ("chat.postMessage", "chat.update"):
            assert (given["parse"], given["link_names"]) == ("none", False)
    assert "*all*" in shop.slack.said(TEAM)[1]["text"].replace("\u200b", "")


async def test_what_agents_say_among_themselves_is_not_even_stored(shop: Workspace) -> None:
    thread = await case(shop)
    before = await shop.bot.stored()
    await shop.tell(shop.slack.says("Lunch?", TEAM, user=ZOE))
    await shop.tell(shop.slack.says(f"A person please <@{ZOE}>", TEAM, user=BEN))
    assert await shop.bot.stored() == before
    assert len(shop.slack.said(TEAM)) == 2
    assert shop.said(TEAM, thread)


async def test_an_admin_asks_for_the_status_in_the_channel_of_the_agents(shop: Workspace) -> None:
    await shop.tell(shop.slack.says(f"<@{BOT}> /kb status", TEAM, user=BEN))
    await shop.settle()
    assert shop.slack.said(TEAM) == []
    await shop.tell(shop.slack.says(f"<@{BOT}> /kb status", TEAM, user=ZOE))
    await shop.settle()
    assert "fake" in shop.said(TEAM)[-1]


async def test_an_agent_whose_name_slack_does_not_tell_is_called_by_the_id(
    shop: Workspace,
) -> None:
    shop.slack.failures["users.info"] = [Failure("missing_scope")]
    thread = await case(shop)
    await agent_says(shop, "One.", thread)
    await agent_says(shop, "Two.", thread)
    assert shop.said(DIRECT)[-2:] == [f"*{ZOE}*\n\nOne.", f"*{ZOE}*\n\nTwo."]
    assert [method for method, _ in shop.slack.calls].count("users.info") == 1


async def test_a_name_that_was_told_once_is_used_again(shop: Workspace) -> None:
    thread = await case(shop)
    for text in ("One.", "Two."):
        await agent_says(shop, text, thread)
    assert [method for method, _ in shop.slack.calls].count("users.info") == 1


async def test_a_title_that_cannot_be_changed_stops_nothing(shop: Workspace) -> None:
    shop.slack.unknown = {"chat.update"}
    thread = await case(shop)
    await agent_says(shop, "I am here.", thread)
    await agent_says(shop, "/resolve", thread)
    assert shop.said(DIRECT)[-1] == texts("en").resolved


async def test_a_channel_that_the_bot_is_not_in_gets_the_case_once_it_is(
    shop: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    shop.slack.left = {TEAM}
    await shop.tell(shop.slack.says(UNKNOWN))
    await shop.settle()
    assert "the bot is not in this channel: invite it" in caplog.text
    assert len(await shop.bot.application.conversations.list()) == 1
    shop.slack.left = set()
    for _ in range(20):
        await shop.settle()
    assert len(shop.slack.said(TEAM)) == 2


async def test_the_same_event_told_twice_is_passed_on_once(shop: Workspace) -> None:
    thread = await case(shop)
    event = shop.slack.says("Once.", TEAM, user=ZOE, thread_ts=thread)
    await shop.tell(event, event)
    await shop.settle()
    assert shop.said(DIRECT).count("*Zoe*\n\nOnce.") == 1


@pytest.mark.parametrize(
    ("fault", "state", "text"),
    [
        (None, "ok", "kfbot in Shop"),
        ("left", "wrong", f"agents_chat: the bot is not in {TEAM}: /invite it there"),
        ("channel_not_found", "wrong", f"agents_chat: the bot is not in {TEAM}: /invite it there"),
        ("missing_scope", "wrong", "missing_scope"),
        ("unknown_method", "ok", "kfbot in Shop"),
    ],
)
async def test_kfbot_check_says_whether_the_bot_is_where_the_agents_are(
    slack: Slack,
    fault: str | None,
    state: str,
    text: str,
) -> None:
    if fault == "left":
        slack.left = {TEAM}
    elif fault is not None:
        slack.failures["conversations.info"] = [Failure(fault)]
    section: dict[str, Any] = {
        "platform": "slack", "bot_token": BOT_TOKEN, "api_base": slack.api_base,
        "signing_secret": SIGNING_SECRET, "agents_chat": TEAM,
    }  # fmt: skip
    settings = load_settings(None, overrides={"channels": {"shop": section}})
    [found] = [one async for one in checking._look_at_channels(settings)]
    assert found.state == state
    assert text in found.text


# --- where the bot is not, and what is edited ----------------------------------------------------


async def test_a_command_where_the_bot_is_not_is_answered_directly(shop: Workspace) -> None:
    shop.slack.left = {CHANNEL}
    await shop.slack.command("/kb", "status", channel=CHANNEL, user=ZOE)
    await shop.settle()
    assert "fake" in shop.said(ZOE)[-1]


async def test_what_was_answered_is_not_answered_again_for_a_mention_that_is_edited_in(
    shop: Workspace,
) -> None:
    first = shop.slack.says(f"<@{BOT}> {QUESTION}", CHANNEL)
    await shop.tell(first)
    asked = "How do I return an item?"
    event = shop.slack.says(asked, CHANNEL, thread_ts=first["ts"])
    await shop.tell(event)
    assert len(shop.said(CHANNEL)) == 2
    edit = shop.slack.edits(event, f"<@{BOT}> {asked}")
    await shop.tell(edit, shop.slack.mention_of(edit["message"] | {"channel": CHANNEL}))
    assert len(shop.said(CHANNEL)) == 2
    await shop.tell(shop.slack.edits(event, f"<@{BOT}> How long do I have to return an item?"))
    assert len(shop.said(CHANNEL)) == 3


async def test_a_mention_that_an_agent_edits_in_sends_nothing_to_the_customer(
    shop: Workspace,
) -> None:
    thread = await case(shop)
    event = shop.slack.says("One.", TEAM, user=ZOE, thread_ts=thread)
    await shop.tell(event)
    before = shop.said(DIRECT)
    await shop.tell(shop.slack.edits(event, f"<@{BOT}> One, two."))
    assert shop.said(DIRECT) == before
    assert shop.said(TEAM)[-1].startswith("The customer has your message as it was")
