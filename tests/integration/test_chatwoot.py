"""The whole bot behind Chatwoot: questions, handoffs, agents, and a Chatwoot that fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.conversation import State
from kfbot.grounding.writing import Writer
from kfbot.messages import ConversationId
from kfbot.store import tables
from kfbot.testing import FakeChatModel
from kfbot.texts import texts
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.chatwoot import ACCOUNT, ANN, SECRET, TOKEN, WHATSAPP, Chatwoot, Fault

pytestmark = pytest.mark.asyncio

QUESTION, ANSWER = "When will my refund arrive?", "Within **2 business days**."
KEEP = "How long do I have to return an item?"
ASKED = texts("en").handoff_asked


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[Chatwoot]:
    async with Chatwoot() as opened:
        yield opened


@asynccontextmanager
async def behind(
    platform: Chatwoot, served: Served, *, writer: Writer | None = None, **settings: Any
) -> AsyncIterator[ServedBot]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    section = {
        "platform": "chatwoot",
        "base_url": platform.url,
        "bot_token": TOKEN,
        "account_ids": [ACCOUNT],
        "webhook_secret": SECRET,
    } | settings
    platform.outgoing_url = f"http://127.0.0.1:{port}/webhooks/desk"
    if "url_secret" in settings:
        platform.outgoing_url += f"?secret={settings['url_secret']}"
    async with served(sections={"desk": section}, port=port, writer=writer) as bot:
        yield bot


@pytest_asyncio.fixture
async def bot(platform: Chatwoot, served: Served) -> AsyncIterator[ServedBot]:
    async with behind(platform, served) as opened:
        yield opened


async def still(platform: Chatwoot, bot: ServedBot) -> None:
    """Until nothing more comes of what was said."""
    await platform.told()
    await bot.quiet()
    await platform.told()
    await bot.quiet()


async def state(bot: ServedBot, chat: str = f"{ACCOUNT}/10") -> State:
    found = await bot.application.conversations.find(ConversationId("desk", chat))
    assert found is not None
    return found.state


async def test_a_question_is_answered_with_form_source_and_options(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says(QUESTION)
    await platform.until_written(1)
    sent = platform.conversation().messages[-1]
    assert sent["content"].startswith(f"{ANSWER}\n\n\\[1\\] When will my refund arrive?")
    titles = [item["title"] for item in sent["content_attributes"]["items"]]
    assert titles == ["Helpful", "Not helpful", "A person please"]
    await still(platform, bot)
    # Being told of its own words the bot answered nothing.
    assert len(platform.conversation().texts()) == 1
    assert set(platform.pushed) == {200}
    assert platform.conversation().status == "pending"


async def test_another_inbox_gets_plain_text_and_choices_by_number(
    platform: Chatwoot, bot: ServedBot
) -> None:
    platform.conversation(inbox=WHATSAPP)
    await platform.says(QUESTION)
    [answer] = await platform.until_written(1)
    assert answer.startswith("Within 2 business days.\n\n[1] ")
    assert platform.conversation().messages[-1]["content_type"] == "text"
    await platform.says(DOUBTFUL)
    [*_, asked] = await platform.until_written(2)
    number = next(line[0] for line in asked.splitlines() if line.endswith(KEEP))
    await platform.says(number)
    [*_, chosen] = await platform.until_written(3)
    assert chosen.startswith(ENTRIES[KEEP])


async def test_an_option_is_picked_once_however_often_it_is_told(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says(DOUBTFUL)
    await platform.until_written(1)
    await platform.picks(KEEP)
    [_, chosen] = await platform.until_written(2)
    assert chosen.startswith(ENTRIES[KEEP])
    shown = platform.conversation().messages[1]
    await platform.changes(shown, status="read")
    await still(platform, bot)
    assert len(platform.conversation().texts()) == 2


async def test_a_burst_gets_one_reply(platform: Chatwoot, bot: ServedBot) -> None:
    await asyncio.gather(platform.says("hello"), platform.says("about my refund"))
    await platform.says(QUESTION)
    await platform.until_written(1)
    await still(platform, bot)
    assert len(platform.conversation().texts()) == 1


async def test_a_handoff_has_a_note_a_sentence_a_team_and_opens_last(
    platform: Chatwoot, served: Served
) -> None:
    async with behind(platform, served, team_id=4) as bot:
        await platform.says(QUESTION)
        await platform.until_written(1)
        await platform.says("a person please")
        await platform.until(lambda: platform.conversation().status == "open")
        await still(platform, bot)
        assert await state(bot) is State.AGENT
    conversation = platform.conversation()
    assert conversation.texts()[1:] == [ASKED]
    [note] = conversation.texts(private=True)
    assert note.startswith("**The bot asks for a person**: asked for a person")
    assert conversation.team == 4
    actions = [action for _, action, _ in platform.calls if action != "toggle_typing_status"]
    assert actions == ["messages", "messages", "assignments", "messages", "toggle_status"]


async def test_a_summary_follows_as_a_note_of_its_own(platform: Chatwoot, served: Served) -> None:
    # Asked first to put the second question into words that need no history.
    writer = Writer(FakeChatModel(["", "The customer's bank has nothing."]))
    async with behind(platform, served, writer=writer):
        await platform.says(QUESTION)
        await platform.until_written(1)
        await platform.says("My bank has nothing of the giraffe refund, order 4711.")
        conversation = platform.conversation()
        await platform.until(lambda: len(conversation.texts(private=True)) == 2)
    assert conversation.texts(private=True)[1] == (
        "**Summary, written by the chat model:**\n> The customer's bank has nothing."
    )
    assert len(conversation.texts()) == 2


async def test_in_chinese_too(platform: Chatwoot, bot: ServedBot) -> None:
    await platform.says("运费是多少")
    await platform.until_written(1)
    await platform.says("转人工")
    await platform.until(lambda: platform.conversation().status == "open")
    answer, sentence = platform.conversation().texts()
    assert answer.startswith(ENTRIES["运费是多少"])
    assert sentence == texts("zh").handoff_asked
    [note] = platform.conversation().texts(private=True)
    assert note.startswith("**机器人请求人工接手**：")


async def test_while_it_is_open_the_bot_is_silent_and_pending_gives_it_back(
    platform: Chatwoot, bot: ServedBot
) -> None:
    platform.conversation(assignee=ANN)
    await platform.sets("open")
    await platform.says(QUESTION)
    await platform.answers("Let me look.")
    await still(platform, bot)
    assert platform.conversation().texts() == []
    assert await state(bot) is State.AGENT
    # Of this Chatwoot tells nobody before the customer writes again.
    await platform.sets("pending")
    await platform.says(QUESTION)
    [answer] = await platform.until_written(1)
    assert answer.startswith(ANSWER)
    assert await state(bot) is State.BOT


async def test_an_open_conversation_is_left_alone_though_nothing_said_that_it_is_open(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says(QUESTION)
    await platform.until_written(1)
    platform.is_telling = False
    await platform.sets("open")
    platform.is_telling = True
    await platform.says(KEEP)
    await still(platform, bot)
    assert len(platform.conversation().texts()) == 1
    assert await state(bot) is State.AGENT


async def test_who_answers_a_pending_conversation_has_it_from_then_on(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says(QUESTION)
    await platform.until_written(1)
    await platform.answers("I am Ann, I take this.")
    await platform.until(lambda: platform.conversation().status == "open")
    await platform.says(KEEP)
    await still(platform, bot)
    assert len(platform.conversation().texts()) == 1
    assert platform.conversation().texts(private=True) == ["**Ann** has it."]


async def test_what_is_resolved_begins_anew_with_the_bot(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says("a person please")
    await platform.until(lambda: platform.conversation().status == "open")
    await platform.answers("Done.")
    await platform.sets("resolved")
    await still(platform, bot)
    assert await state(bot) is State.CLOSED
    await platform.says(QUESTION)
    [_, answer] = await platform.until_written(2)
    assert answer.startswith(ANSWER)


async def test_a_message_before_chatwoot_knows_of_the_handoff_does_not_undo_it(
    platform: Chatwoot, bot: ServedBot
) -> None:
    async def writes_again() -> None:
        await platform.says("are you there?")
        await platform.told()

    platform.before["messages"].append(writes_again)
    await platform.says("a person please")
    await platform.until(lambda: platform.conversation().status == "open")
    await still(platform, bot)
    assert platform.conversation().texts() == [ASKED]
    assert await state(bot) is State.AGENT


async def test_a_handoff_that_chatwoot_refuses_half_of_is_finished_without_repeats(
    platform: Chatwoot, bot: ServedBot
) -> None:
    limit: Fault = (429, {"Retry-After": "0"}, {"error": "Retry later"})
    broken: Fault = (500, {}, {"error": "oops"})
    platform.faults["toggle_status"] += [limit, broken]
    await platform.says("a person please")
    await platform.until(lambda: platform.conversation().status == "open", seconds=20)
    await still(platform, bot)
    conversation = platform.conversation()
    assert (conversation.texts(), len(conversation.texts(private=True))) == ([ASKED], 1)


async def test_a_sentence_that_is_refused_does_not_keep_the_customer_from_the_agents(
    platform: Chatwoot, bot: ServedBot
) -> None:
    refused: Fault = (422, {}, {"message": "the window of 24 hours is over"})
    platform.before["messages"].append(_refuse_second(platform, refused))
    await platform.says("a person please")
    await platform.until(lambda: platform.conversation().status == "open")
    await still(platform, bot)
    dead = sa.select(tables.outbox.c.error).where(tables.outbox.c.state == "dead")
    [error] = await bot.database.read(lambda c: c.execute(dead).scalars().all())
    assert "the window of 24 hours is over" in error


def _refuse_second(platform: Chatwoot, fault: Fault) -> Any:
    async def after_the_note() -> None:
        async def refuse() -> None:
            platform.faults["messages"].append(fault)

        platform.before["messages"].append(refuse)

    return after_the_note


async def test_a_chatwoot_that_signs_nothing_shows_the_secret_in_the_address(
    platform: Chatwoot, served: Served
) -> None:
    platform.secret = None
    async with behind(platform, served, webhook_secret=None, url_secret="quiet") as bot:
        await platform.says(QUESTION)
        await platform.until_written(1)
        await still(platform, bot)
        platform.outgoing_url = platform.outgoing_url.replace("quiet", "loud")
        await platform.says(KEEP)
        await platform.told()
    assert platform.pushed[-1] == 401
    # What the bot does not take, Chatwoot gives to its agents.
    assert platform.conversation().status == "open"


async def test_each_account_and_each_conversation_is_one_of_its_own(
    platform: Chatwoot, served: Served
) -> None:
    async with behind(platform, served, account_ids=[1, 7]) as bot:
        platform.conversation(11, account=7)
        await platform.says(QUESTION)
        await platform.says(KEEP, 11)
        await platform.until_written(1)
        await platform.until_written(1, 11)
        assert await state(bot, "1/10") is await state(bot, "7/11") is State.BOT


async def test_agents_words_at_our_own_desk_go_out_and_open_the_conversation(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says(QUESTION)
    await platform.until_written(1)
    number = await bot.id_of(f"{ACCOUNT}/10", "desk")
    await bot.application.handoff.reply(number, "bob", "Bob here.")
    await platform.until(lambda: platform.conversation().status == "open")
    # That it is open Chatwoot tells us too.
    await still(platform, bot)
    await bot.application.handoff.hand_back(number, "bob")
    await platform.until(lambda: platform.conversation().status == "pending")
    assert platform.conversation().texts()[1:] == ["Bob here.", texts("en").handback]


async def test_typing_is_shown_until_a_chatwoot_refuses_it(
    platform: Chatwoot, bot: ServedBot
) -> None:
    await platform.says(QUESTION)
    await platform.until_written(1)
    await still(platform, bot)
    assert platform.conversation().typing == ["on"]
    platform.lacks.add("toggle_typing_status")
    for question in (KEEP, "How do I return an item?"):
        await platform.says(question)
        await platform.until_written(len(platform.conversation().texts()) + 1)
    tried = [body for _, action, body in platform.calls if action == "toggle_typing_status"]
    assert len(tried) == 2
