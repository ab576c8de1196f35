"""Cases in a chat of agents: what agents do in their threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from kfbot.cases.talk import CaseTalk
from kfbot.conversation import State
from kfbot.errors import (
    ChannelUnavailable,
    StoreUnavailable,
)
from kfbot.messages import Attachment, ConversationId, MessageEdited, Sender
from kfbot.store.accounts import AccountStore
from kfbot.store.engine import Database
from kfbot.store.outcomes import OutcomeStore
from kfbot.testing import FakeAdapter
from kfbot.texts import texts, thread_texts
from tests.dialogues.office import (
    ANNA,
    BEN,
    THREAD,
    UNKNOWN,
    Office,
    everything_said,
    opened,
    team,
)

pytestmark = pytest.mark.asyncio

SAYS = thread_texts("en")


@pytest_asyncio.fixture
async def office(database: Database, clock: Any, channel: FakeAdapter) -> AsyncIterator[Office]:
    async with opened(database, clock, channel, team()) as office:
        yield office


# What agents do


async def test_a_note_is_kept_and_never_sent(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    before = office.told()
    for note in ("// a regular", "note: be kind", "备注：老客户"):
        assert await office.agent_says(note) == []
    assert office.told() == before
    conversation = await office.conversation()
    assert conversation.state is State.WAITING
    said = await office.application.transcripts.transcript(conversation.id, internal=True)
    assert [(one.text, one.sender_name) for one in said if one.internal] == [
        ("a regular", "Anna"), ("be kind", "Anna"), ("老客户", "Anna"),
    ]  # fmt: skip


async def test_another_agent_is_told_who_has_the_case(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_says("I look into it.")
    taken = SAYS.taken.format(agent="Anna")
    assert await office.agent_says("So do I.", agent=BEN) == [taken]
    assert await office.agent_presses(SAYS.claim, agent=BEN) == [taken]
    assert office.told()[-1] == "I look into it."
    assert await office.agent_says("// so do I", agent=BEN) == []


async def test_an_agent_whose_name_was_not_known_at_first_is_the_same(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_says("One.", agent=Sender("U1", "agent"))
    await office.agent_says("Two.", agent=ANNA)
    assert office.told()[-2:] == ["One.", "Two."]
    assert (await office.conversation()).agent == "U1"


@pytest.mark.parametrize("way", ["press", "/resume", "!resume"])
async def test_an_agent_gives_the_conversation_back_to_the_bot(office: Office, way: str) -> None:
    await office.customer_says(UNKNOWN)
    await (office.agent_presses(SAYS.hand_back) if way == "press" else office.agent_says(way))
    assert office.told()[-1] == texts("en").handback
    assert (await office.conversation()).state is State.BOT
    assert office.shown()[-1].endswith(f"\n\n{SAYS.handed_back}")
    [reply] = await office.customer_says("How do I return an item?")
    assert reply.text == "Open the order and press Return."


@pytest.mark.parametrize("way", ["press", "/resolve", "／resolve", "/resolve@kfbot"])
async def test_a_case_that_is_resolved_ends_its_thread(office: Office, way: str) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_presses(SAYS.claim)
    await (office.agent_presses(SAYS.resolve) if way == "press" else office.agent_says(way))
    assert office.told()[-1] == texts("en").resolved
    assert office.shown()[-1].endswith(f"\n\n{SAYS.resolved}")
    assert [title for _, title in office.agents.renamed] == [
        f"💬 Anna · #1 · {UNKNOWN}", f"✅ #1 · {UNKNOWN}",
    ]  # fmt: skip
    assert office.agents.closed == [THREAD]
    conversation = await office.conversation()
    assert conversation.state is State.CLOSED


async def test_in_a_closed_case_nothing_is_passed_on(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_says("/resolve")
    before = office.told()
    assert await office.agent_says("One more thing.") == [SAYS.closed]
    assert await office.agent_presses(SAYS.claim) == [SAYS.closed]
    assert office.told() == before
    assert (await office.conversation()).state is State.CLOSED


async def test_the_next_case_of_a_customer_has_a_thread_of_its_own(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_says("/resolve")
    await office.customer_says("Do you sell boats?")
    assert len(office.agents.threads) == 2
    assert "boats" in office.shown()[-1]


@pytest.mark.parametrize("text", ["/refund", "/reslove", "/kb reload", "/stats", "/help", "！help"])
async def test_what_looks_like_a_command_never_goes_to_the_customer(
    office: Office, text: str
) -> None:
    await office.customer_says(UNKNOWN)
    before = office.told()
    [reply] = await office.agent_says(text)
    assert reply.startswith((SAYS.unknown, SAYS.not_admin, SAYS.help.strip()))
    assert office.told() == before
    assert (await office.conversation()).state is State.WAITING


@pytest.mark.parametrize("text", ["/etc/hosts is it", "1/2 of them", "!!", "Note that it is late"])
async def test_what_only_looks_a_little_like_a_command_goes_to_the_customer(
    office: Office, text: str
) -> None:
    await office.customer_says(UNKNOWN)
    await office.agent_says(text)
    assert office.told()[-1] == text


async def test_files_are_not_passed_on_and_the_agent_is_told_so(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    file = Attachment("https://files/1", "image/png", "plan.png")
    shown = await office.agent_says("Look:", attachments=(file,))
    assert SAYS.files in shown
    assert office.told()[-1] == "Look:"
    assert await office.agent_says("", attachments=(file,)) == [SAYS.files]
    assert office.told()[-1] == "Look:"


async def test_an_edit_is_not_passed_on_and_the_agent_is_told_so(office: Office) -> None:
    await office.customer_says(UNKNOWN)
    message = office.message("Yes.", chat=THREAD, sender=ANNA)
    await office.settle(await office.accept(message))
    before = office.told()
    edit = MessageEdited(
        event_id="edit", conversation=THREAD, message_id=message.message_id,
        sender=ANNA, sent_at=office.clock(), text="No.",
    )  # fmt: skip
    await office.settle(await office.accept(edit))
    assert office.shown()[-1] == SAYS.edited
    assert office.told() == before


async def test_an_agents_message_that_comes_twice_is_passed_on_once_and_in_order(
    office: Office,
) -> None:
    await office.customer_says(UNKNOWN)
    messages = [office.message(f"Part {n}.", chat=THREAD, sender=ANNA) for n in range(4)]
    for message in (*messages, *messages):
        accepted = await office.accept(message)
    await office.settle(accepted)
    assert office.told()[-4:] == [f"Part {n}." for n in range(4)]
    assert len(office.told()) == 5


async def test_what_fails_in_between_is_passed_on_once_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.customer_says(UNKNOWN)
    commit, broken = OutcomeStore.commit, [True]

    async def failing(self: OutcomeStore, *given: Any) -> Any:
        done = await commit(self, *given)
        if broken and given[2].case_step is not None:
            broken.clear()
            raise StoreUnavailable("nobody knows whether it was stored")
        return done

    monkeypatch.setattr(OutcomeStore, "commit", failing)
    await office.agent_says("Once.")
    await office.minute()
    assert broken == []
    assert office.told().count("Once.") == 1


async def test_the_bots_words_that_were_not_sent_yet_are_not_sent_once_an_agent_has_written(
    office: Office,
) -> None:
    office.channel.failures = [ChannelUnavailable("shop", "no answer")] * 3
    await office.customer_says(UNKNOWN)
    assert office.told() == []
    await office.agent_says("Anna here.")
    await office.minute()
    assert office.told() == ["Anna here."]


async def test_an_agent_has_the_case_before_the_message_is_worked_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the thread has to send first must not give the bot time to speak."""
    await office.customer_says(UNKNOWN)
    stuck = asyncio.Event()

    async def slow(*given: Any) -> Any:
        await stuck.wait()

    monkeypatch.setattr(CaseTalk, "respond", slow)
    await office.accept(office.message("Anna here.", chat=THREAD, sender=ANNA))
    assert (await office.conversation()).agent == "Anna"
    stuck.set()


# What is no case


async def test_what_agents_say_elsewhere_is_theirs(office: Office, database: Database) -> None:
    await office.customer_says(UNKNOWN)
    for thread in ("other", None):
        place = ConversationId("team", "agents", thread)
        assert await office.agent_says("A person please", thread=place) == []
        assert (await office.conversation(place)).state is State.THREAD
    assert len(await office.application.conversations.list()) == 1
    stats = await AccountStore(database).stats(office.clock() - timedelta(days=1))
    assert (sum(stats.turns.values()), sum(stats.handoffs.values())) == (1, 1)
    assert "A person please" not in "\n".join(await everything_said(database))


async def test_admins_give_commands_in_the_chat_of_agents(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with opened(database, clock, channel, team(admins=("U1",))) as office:
        await office.customer_says(UNKNOWN)
        [status] = await office.agent_says("/kb status")
        assert "fake" in status
        place = ConversationId("team", "agents", "elsewhere")
        [status] = await office.agent_says("/kb status", thread=place)
        assert "fake" in status
        assert await office.agent_says("/kb status", thread=place, agent=BEN) == []


async def test_a_chat_that_was_one_of_customers_is_the_agents_from_now_on(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    place = ConversationId("team", "agents", "thread-of-old")
    before = FakeAdapter("team")
    async with opened(database, clock, channel, before) as office:
        sent = await office.customer_says("How do I return an item?", chat=place)
    async with opened(database, clock, channel, team()) as office:
        await office.sent_out()
        assert await office.agent_says("A person please", thread=place) == []
        assert (await office.conversation(place)).state is State.THREAD
    assert sent == []


async def test_a_chat_that_is_the_agents_no_more_leads_to_nothing(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with opened(database, clock, channel, team()) as office:
        await office.customer_says(UNKNOWN)
    async with opened(database, clock, channel, FakeAdapter("team")) as office:
        before = office.told()
        await office.agent_says("Hello", agent=Sender("U1"))
        assert office.told() == before
        assert office.shown() == []
