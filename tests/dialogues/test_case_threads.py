"""Cases in a chat of agents: what their threads show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
import pytest_asyncio

from kfbot.adapter import AgentsChatSettings, Capabilities
from kfbot.cases.threads import CaseThreads, check_agents_chats
from kfbot.changes import EVERYTHING
from kfbot.conversation import State
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    SettingsError,
    StoreUnavailable,
)
from kfbot.messages import ConversationId
from kfbot.store.case_threads import CaseThreadStore, DueThread
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from kfbot.texts import texts, thread_texts
from tests.dialogues.conftest import staged
from tests.dialogues.office import (
    THREAD,
    UNKNOWN,
    Office,
    opened,
    team,
    unsent,
)

pytestmark = pytest.mark.asyncio

SAYS = thread_texts("en")


@pytest_asyncio.fixture
async def office(database: Database, clock: Any, channel: FakeAdapter) -> AsyncIterator[Office]:
    async with opened(database, clock, channel, team()) as office:
        yield office


# What is shown


async def test_a_case_opens_a_thread_with_reason_transcript_and_draft(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    assert office.agents.threads == [("agents", f"⏳ #1 · {UNKNOWN}")]
    [post] = office.agents.sent
    assert post.conversation == THREAD
    assert "not sure" in post.text
    assert "shop" in post.text
    assert f"> {UNKNOWN}" in post.text
    assert texts("en").handoff in post.text
    assert SAYS.draft in post.text
    assert [button.label for button in post.buttons] == [
        SAYS.claim, SAYS.hand_back, SAYS.resolve,
    ]  # fmt: skip


async def test_a_conversation_that_the_bot_answers_is_shown_nowhere(office: Office) -> None:
    await office.customer_says("How do I return an item?")
    assert (office.agents.threads, office.shown()) == ([], [])


async def test_what_the_customer_writes_later_is_shown_too(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    await office.customer_says("Are you *there*?")
    assert office.shown()[1:] == ["**Customer**\n> Are you \\*there\\*?"]


async def test_what_agents_write_reaches_the_customer_and_claims(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    shown = await office.agent_says("Yes, two of them.")
    assert office.told()[-1] == "Yes, two of them."
    assert office.channel.sent[-1].sender.display_name == "Anna"
    assert shown == [SAYS.claimed.format(agent="Anna")]
    conversation = await office.conversation()
    assert (conversation.state, conversation.agent) == (State.AGENT, "Anna")


async def test_nothing_is_shown_twice(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_says("Which one?")
    await office.customer_says("The big one.")
    await office.agent_says("We have it.")
    assert "\n".join(office.shown()).count("Which one?") == 0
    assert "\n".join(office.shown()).count("The big one.") == 1
    assert "\n".join(office.shown()).count(UNKNOWN) == 1


async def test_what_is_done_in_the_browser_desk_is_shown_in_the_thread(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    number = (await office.conversation()).id
    await office.application.handoff.claim(number, "ben")
    await office.application.handoff.reply(number, "ben", "We do.")
    await office.application.handoff.reply(number, "ben", "A regular.", internal=True)
    await office.sent_out()
    rest = "\n\n".join(office.shown()[1:])
    assert rest.count(SAYS.claimed.format(agent="ben")) == 1
    assert "**ben**\n> We do." in rest
    assert f"**ben** ({SAYS.note})\n> A regular." in rest


async def test_open_cases_follow_the_agents_into_another_chat(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with opened(database, clock, channel, team()) as office:
        await office.customer_says(UNKNOWN)
        assert office.agents.threads == [("agents", f"⏳ #1 · {UNKNOWN}")]
    settings = AgentsChatSettings(platform="fake", agents_chat="others")
    moved = FakeAdapter("team", settings, capabilities=Capabilities(buttons=True, threads=True))
    async with opened(database, clock, channel, moved) as office:
        await office.sent_out()
        assert moved.threads == [("others", f"⏳ #1 · {UNKNOWN}")]
        await office.agent_says("We do.", thread=ConversationId("team", "others", "thread-1"))
        assert office.told()[-1] == "We do."
        assert await unsent(database) == 0


@pytest.mark.parametrize("failures", [0, 100], ids=["with a thread", "before it had one"])
async def test_a_case_follows_the_agents_back_into_the_chat_where_it_was(
    database: Database, clock: Any, channel: FakeAdapter, failures: int
) -> None:
    first = team()
    first.thread_failures = [ChannelUnavailable("team", "no answer")] * failures
    async with opened(database, clock, channel, first) as office:
        await office.customer_says(UNKNOWN)
    settings = AgentsChatSettings(platform="fake", agents_chat="others")
    moved = FakeAdapter("team", settings, capabilities=Capabilities(threads=True))
    async with opened(database, clock, channel, moved) as office:
        await office.sent_out()
    back = team()
    async with opened(database, clock, channel, back) as office:
        await office.sent_out()
    assert [post.conversation for post in back.sent] == [THREAD]


async def test_everything_is_looked_through_though_there_is_never_a_moment_without_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kfbot.cases.threads.LOOK_SECONDS", 0.01)
    looks: list[Collection[int] | None] = []
    looked_twice = asyncio.Event()

    class Busy:
        async def adopt(self, chats: object) -> None:
            pass

        async def due(self, chats: object, numbers: Collection[int] | None) -> tuple[()]:
            looks.append(numbers)
            threads.hear("conversation 1")
            if looks.count(None) == 2:
                looked_twice.set()
            await asyncio.sleep(0)
            return ()

    threads = CaseThreads(Busy(), {"team": team()})  # type: ignore[arg-type]
    running = asyncio.create_task(threads.run())
    async with asyncio.timeout(60):
        await looked_twice.wait()
    running.cancel()
    assert {1} in looks


async def test_a_case_that_cannot_be_shown_keeps_none_of_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce = CaseThreadStore.announce

    async def stumble(store: CaseThreadStore, due: DueThread) -> None:
        if due.case_id == 1:
            raise ValueError("cannot be read")
        await announce(store, due)

    monkeypatch.setattr(CaseThreadStore, "announce", stumble)
    await office.customer_says(UNKNOWN)
    office.application.case_threads.hear(EVERYTHING)
    await office.customer_says(UNKNOWN, chat=ConversationId("shop", "another"))
    office.application.case_threads.hear(EVERYTHING)
    await office.sent_out()
    assert [title for _, title in office.agents.threads] == [f"⏳ #2 · {UNKNOWN}"]


async def test_who_is_taken_from_the_bot_has_a_thread_too(office: Office) -> None:
    await office.customer_says("How do I return an item?")
    await office.application.handoff.claim((await office.conversation()).id, "ben")
    await office.sent_out()
    [post] = office.agents.sent
    assert "taken by an agent" in post.text
    assert SAYS.claimed.format(agent="ben") in post.text
    assert [button.label for button in post.buttons] == [SAYS.hand_back, SAYS.resolve]
    assert office.agents.threads == [("agents", "💬 ben · #1")]


async def test_a_thread_has_one_message_that_waits_and_it_tells_all_that_came(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with opened(database, clock, channel, team()) as office:
        slow = Capabilities(buttons=True, threads=True, seconds_per_chat=60.0)
        office.agents.capabilities = slow
        await office.customer_says(UNKNOWN)
        for number in range(5):
            await office.customer_says(f"Question {number}?")
        assert office.shown() == []
        assert await unsent(database) == 1
        await office.minute()
        await office.customer_says("Question 5?")
        await office.minute()
        first, second = office.shown()
        assert all(f"Question {number}?" in first for number in range(5))
        assert second == "**Customer**\n> Question 5?"


async def test_what_comes_while_a_post_waits_for_its_time_is_in_it(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    """A group with few messages a minute must not see what was so a minute ago."""
    async with opened(database, clock, channel, team()) as office:
        await office.customer_says(UNKNOWN)
        office.agents.capabilities = Capabilities(buttons=True, threads=True, seconds_per_chat=60.0)
        await office.customer_says("One.")
        await office.customer_says("Two.")
        await office.customer_says("Three.")
        await office.minute()
        assert office.shown()[1:] == [
            "**Customer**\n> One.", "**Customer**\n> Two.\n\n**Customer**\n> Three.",
        ]  # fmt: skip


async def test_a_long_text_is_split_and_the_buttons_come_last(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with opened(database, clock, channel, team()) as office:
        office.agents.capabilities = Capabilities(buttons=True, threads=True, text_length=300)
        await office.customer_says(UNKNOWN + " please" * 200)
        assert len(office.agents.sent) > 3
        assert all(len(message.text) <= 300 for message in office.agents.sent)
        assert [bool(message.buttons) for message in office.agents.sent] == [
            *([False] * (len(office.agents.sent) - 1)), True,
        ]  # fmt: skip


async def test_a_text_without_end_is_cut(office: Office) -> None:
    await office.customer_says(UNKNOWN + " please" * 20_000)
    assert SAYS.cut in "\n".join(office.shown())
    assert len(office.shown()) <= 4


async def test_a_long_talk_is_shown_from_its_last_messages_on(office: Office) -> None:
    for _ in range(15):
        await office.customer_says("How do I return an item?")
    await office.customer_says(UNKNOWN)
    [post] = office.shown()
    assert SAYS.earlier in post
    assert post.count("**Bot**\n> Open the order") == 9


async def test_cases_of_other_channels_than_named_are_not_shown(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with opened(database, clock, channel, team(agents_for=("web",))) as office:
        await office.customer_says(UNKNOWN)
        assert (office.agents.threads, office.shown()) == ([], [])


async def test_a_case_that_was_opened_before_gets_its_thread_at_the_start(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with staged(database, clock, channel) as stage:
        await stage.customer_says(UNKNOWN)
    async with opened(database, clock, channel, team()) as office:
        await office.sent_out()
        assert len(office.agents.threads) == len(office.shown()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        MessageRejected("team", "the bot is not in this channel: invite it"),
        ChannelUnavailable("team", "no answer"),
        ChannelUnauthorized("team", "token revoked"),
    ],
)
async def test_a_chat_that_cannot_be_reached_gets_the_thread_when_it_is_back(
    office: Office, fault: ChannelError, caplog: pytest.LogCaptureFixture
) -> None:
    office.agents.thread_failures = [fault] * 3
    await office.customer_says(UNKNOWN)
    assert office.agents.threads == []
    assert (await office.conversation()).state is State.WAITING
    assert str(fault) in caplog.text
    await office.accept(office.message("Hello?"))
    await office.minute()
    assert len(office.agents.threads) == 1
    [post] = office.shown()
    assert "Hello?" in post


async def test_a_thread_that_takes_no_message_for_a_while_shows_all_when_it_does(
    office: Office,
) -> None:
    await office.customer_says(UNKNOWN)
    office.agents.failures = [MessageRejected("team", "not in the channel")]
    await office.customer_says("One.")
    await office.customer_says("Two.")
    await office.minute()
    assert "\n".join(office.shown()[1:]).count("One.") == 1
    assert "\n".join(office.shown()[1:]).count("Two.") == 1


async def test_a_case_that_is_over_before_its_thread_is_there_gets_none(office: Office) -> None:
    office.agents.thread_failures = [ChannelUnavailable("team", "no answer")] * 3
    await office.customer_says(UNKNOWN)
    await office.application.handoff.resolve((await office.conversation()).id, "ben")
    await office.minute()
    assert (office.agents.threads, office.shown()) == ([], [])


async def test_a_process_that_dies_while_it_opens_a_thread_leaves_an_empty_one_behind(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, broken = CaseThreadStore.opened, [True]

    async def dying(self: CaseThreadStore, *given: Any) -> None:
        if broken:
            broken.clear()
            raise StoreUnavailable("gone")
        await stored(self, *given)

    monkeypatch.setattr(CaseThreadStore, "opened", dying)
    await office.customer_says(UNKNOWN)
    await office.minute()
    assert len(office.agents.threads) == 2
    [post] = office.agents.sent
    assert post.conversation.thread == "thread-2"


# Settings


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"agents_for": ("shap",)}, "there is no channel 'shap': team"),
        ({"agents_for": ("team",), "agents_chat": ""}, "agents_chat is missing"),
    ],
)
async def test_cases_of_channels_that_do_not_exist_are_a_fault_of_the_settings(
    settings: dict[str, Any], fault: str
) -> None:
    section = AgentsChatSettings(platform="fake", **{"agents_chat": "agents"} | settings)
    with pytest.raises(SettingsError, match=fault):
        check_agents_chats({"team": FakeAdapter("team", section)})
