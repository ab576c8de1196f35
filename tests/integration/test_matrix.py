"""The whole bot on Matrix, against a real Synapse: from an event in a room to the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from adapters.matrix.position import Position
from kfbot.conversation import State
from kfbot.errors import StoreUnavailable
from kfbot.inbox import Inbox
from kfbot.messages import ConversationId, InboundEvent
from kfbot.store import tables
from kfbot.store.acceptance import Accepted
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.synapse import Person, Shown, Synapse

pytestmark = pytest.mark.asyncio

QUESTION = "When will my refund arrive?"
ANSWER = "Within 2 business days."
KEEP = "How long do I have to return an item?"
POSTAGE = "运费是多少"
INVOICE = "怎么开发票"
UNKNOWN = "Do you sell coffee machines?"


@pytest_asyncio.fixture
async def account(synapse: Synapse) -> AsyncIterator[Person]:
    """The bot's account, as another client of it."""
    async with Person(synapse, "shopbot") as opened:
        yield opened


@pytest_asyncio.fixture
async def alice(synapse: Synapse) -> AsyncIterator[Person]:
    async with Person(synapse, "alice") as opened:
        yield opened


@pytest_asyncio.fixture
async def bob(synapse: Synapse) -> AsyncIterator[Person]:
    async with Person(synapse, "bob") as opened:
        yield opened


def section(synapse: Synapse, account: Person, **settings: Any) -> dict[str, Any]:
    known = {"homeserver": synapse.url, "access_token": account.token}
    return {"platform": "matrix"} | known | settings


@pytest_asyncio.fixture
async def bot(synapse: Synapse, account: Person, served: Served) -> AsyncIterator[ServedBot]:
    async with served(sections={"shop": section(synapse, account)}) as opened:
        yield opened


@pytest_asyncio.fixture
async def group(account: Person, alice: Person, bob: Person) -> str:
    """A room of three; whoever serves the account accepts the invitation."""
    room = await alice.opens(account.id, bob.id)
    await bob.joins(room)
    return room


def said(shown: Shown) -> str:
    """The answer without its sources."""
    return shown.text.partition("\n\n[1]")[0]


def mention(account: Person) -> dict[str, Any]:
    return {"m.mentions": {"user_ids": [account.id]}}


def in_thread(root: str) -> dict[str, Any]:
    """Where a client says that it writes in a thread."""
    return {
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": root},
        }
    }


async def test_a_question_asked_with_the_invitation_is_answered_with_form_and_source(
    bot: ServedBot, account: Person, alice: Person
) -> None:
    room = await alice.opens(account.id, is_direct=True)
    await alice.says(room, QUESTION)
    [answer] = await alice.until_answered(room, account.id)
    assert said(answer) == ANSWER
    assert answer.html.startswith("<p>Within <strong>2 business days</strong>.</p><p>[1] ")
    assert answer.content["m.mentions"] == {}
    assert answer.thread is None
    await alice.says(room, POSTAGE)
    answers = await alice.until_answered(room, account.id, 2)
    assert said(answers[1]) == ENTRIES[POSTAGE]


async def test_a_choice_is_made_by_its_number(
    bot: ServedBot, account: Person, alice: Person
) -> None:
    room = await alice.opens(account.id)
    await alice.says(room, DOUBTFUL)
    [asked] = await alice.until_answered(room, account.id)
    number = next(line for line in asked.text.splitlines() if KEEP in line).partition(".")[0]
    await alice.says(room, number)
    answers = await alice.until_answered(room, account.id, 2)
    assert said(answers[1]) == ENTRIES[KEEP]


async def test_a_group_is_answered_in_a_thread_when_it_names_the_bot(
    bot: ServedBot, account: Person, alice: Person, bob: Person, group: str
) -> None:
    await bob.says(group, QUESTION)
    asked = await alice.says(group, f"shopbot: {QUESTION}", **mention(account))
    [answer] = await alice.until_answered(group, account.id)
    assert (said(answer), answer.thread) == (ANSWER, asked)
    # In the thread it is talked to, unless somebody else is.
    await bob.says(group, KEEP, **in_thread(asked), **{"m.mentions": {"user_ids": [alice.id]}})
    await alice.says(group, INVOICE, **in_thread(asked))
    answers = await alice.until_answered(group, account.id, 2)
    await bot.quiet()
    assert [said(one) for one in answers] == [ANSWER, ENTRIES[INVOICE]]
    assert {one.thread for one in answers} == {asked}


async def test_a_thread_of_a_direct_room_is_a_conversation_of_its_own(
    bot: ServedBot, account: Person, alice: Person
) -> None:
    room = await alice.opens(account.id)
    root = await alice.says(room, QUESTION)
    await alice.until_answered(room, account.id)
    await alice.says(room, INVOICE, **in_thread(root))
    answers = await alice.until_answered(room, account.id, 2)
    assert [one.thread for one in answers] == [None, root]
    for thread in (None, root):
        address = ConversationId("shop", room, thread)
        assert await bot.application.conversations.find(address) is not None


async def test_an_edit_that_changes_the_meaning_is_answered_anew_and_only_if_it_is_ones_own(
    bot: ServedBot, account: Person, alice: Person, bob: Person, group: str
) -> None:
    asked = await alice.says(group, QUESTION, **mention(account))
    await alice.until_answered(group, account.id)
    await alice.edits(group, asked, KEEP)
    await alice.until_answered(group, account.id, 2)
    await bob.edits(group, asked, INVOICE)
    await alice.says(group, POSTAGE, **in_thread(asked))
    answers = await alice.until_answered(group, account.id, 3)
    await bot.quiet()
    assert [said(one) for one in answers] == [ANSWER, ENTRIES[KEEP], ENTRIES[POSTAGE]]
    assert {one.thread for one in answers} == {asked}


async def test_an_edit_that_names_the_bot_is_answered(
    bot: ServedBot, account: Person, alice: Person, group: str
) -> None:
    asked = await alice.says(group, QUESTION)
    await alice.edits(group, asked, f"@shopbot {QUESTION}", **mention(account))
    [answer] = await alice.until_answered(group, account.id)
    assert (said(answer), answer.thread) == (ANSWER, asked)


async def test_other_bots_and_what_cannot_be_read_are_not_answered_and_stop_nothing(
    bot: ServedBot, account: Person, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    room = await alice.opens(account.id)
    await alice.sends(room, "m.room.message", {"msgtype": "m.notice", "body": QUESTION})
    await alice.sends(room, "m.room.message", {"msgtype": "m.text", "body": QUESTION,
                                               "m.relates_to": {"rel_type": "m.replace",
                                                                "event_id": 7}})  # fmt: skip
    await alice.sends(room, "m.room.message", {"msgtype": "x.y", "body": QUESTION})
    await alice.sends(room, "m.reaction", {"m.relates_to": "all"})
    await alice.sends(room, "m.sticker", {"body": 5, "info": [], "url": {"a": 1}})
    await alice.sets(room, "m.room.tombstone", {"body": "moved", "replacement_room": "nowhere"})
    await alice.says(room, INVOICE, format=5, formatted_body=["x"])
    answers = await alice.until_answered(room, account.id)
    await bot.quiet()
    assert [said(one) for one in answers] == [ENTRIES[INVOICE]]
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_what_was_said_before_the_invitation_is_not_answered_and_all_after_it_is(
    synapse: Synapse, account: Person, alice: Person, bob: Person, served: Served
) -> None:
    room = await alice.opens(bob.id)
    await bob.joins(room)
    await alice.says(room, KEEP, **mention(account))
    await alice.call("POST", f"/rooms/{room}/invite", {"user_id": account.id})
    asked = await alice.says(room, QUESTION, **mention(account))
    # More than a sync tells of.
    for number in range(25):
        await bob.says(room, f"So we talk, {number}.")
    async with served(sections={"shop": section(synapse, account)}) as bot:
        [answer] = await alice.until_answered(room, account.id)
        await bot.quiet()
        assert (said(answer), answer.thread) == (ANSWER, asked)
        assert len(await alice.until_answered(room, account.id)) == 1
        assert await bot.count(tables.inbox) == 26


async def test_a_backlog_longer_than_a_sync_tells_is_answered_once_after_a_restart(
    synapse: Synapse, account: Person, alice: Person, bob: Person, served: Served, group: str
) -> None:
    sections = {"shop": section(synapse, account)}
    async with served(sections=sections):
        direct = await bob.opens(account.id)
        await bob.says(direct, QUESTION)
        await bob.until_answered(direct, account.id)
        await alice.says(group, QUESTION, **mention(account))
        await alice.until_answered(group, account.id)
    await bob.says(direct, POSTAGE)
    first = await alice.says(group, INVOICE, **mention(account))
    # More than a sync tells of, and than a page of what it left out.
    for number in range(75):
        await bob.says(group, f"So we talk, {number}.")
    last = await alice.says(group, KEEP, **mention(account))
    async with served(sections=sections) as bot:
        answers = await alice.until_answered(group, account.id, 3)
        assert [one.thread for one in answers[1:]] == [first, last]
        assert [said(one) for one in answers[1:]] == [ENTRIES[INVOICE], ENTRIES[KEEP]]
        answers = await bob.until_answered(direct, account.id, 2)
        assert [said(one) for one in answers] == [ANSWER, ENTRIES[POSTAGE]]
        await bot.quiet()
        # Two in the direct room, one before the stop in the group, and 77 after it.
        assert await bot.count(tables.inbox) == 80


async def test_what_could_not_be_stored_is_told_again(
    synapse: Synapse,
    account: Person,
    alice: Person,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept, failing = Inbox.accept, asyncio.Event()

    async def refuse(self: Inbox, event: InboundEvent) -> Accepted:
        failing.set()
        raise StoreUnavailable("the disk is full")

    room = await alice.opens(account.id)
    await alice.says(room, QUESTION)
    monkeypatch.setattr(Inbox, "accept", refuse)
    async with served(sections={"shop": section(synapse, account)}) as bot:
        await asyncio.wait_for(failing.wait(), 60)
        assert await bot.count(tables.inbox) == 0
    monkeypatch.setattr(Inbox, "accept", accept)
    async with served(sections={"shop": section(synapse, account)}):
        [answer] = await alice.until_answered(room, account.id)
        assert said(answer) == ANSWER


async def test_what_was_stored_but_not_confirmed_is_answered_once(
    synapse: Synapse,
    account: Person,
    alice: Person,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance, failing = Position.advance, asyncio.Event()

    async def refuse(self: Position, batch: Any, *, is_news: bool) -> None:
        if is_news and "join" in batch["rooms"]:
            failing.set()
            # Until the bot is stopped.
            await asyncio.Event().wait()
        await advance(self, batch, is_news=is_news)

    room = await alice.opens(account.id)
    await alice.says(room, QUESTION)
    monkeypatch.setattr(Position, "advance", refuse)
    async with served(sections={"shop": section(synapse, account)}) as bot:
        await asyncio.wait_for(failing.wait(), 60)
        await alice.until_answered(room, account.id)
        assert await bot.count(tables.inbox) == 1
    monkeypatch.setattr(Position, "advance", advance)
    async with served(sections={"shop": section(synapse, account)}) as bot:
        await alice.says(room, INVOICE)
        answers = await alice.until_answered(room, account.id, 2)
        assert [said(one) for one in answers] == [ANSWER, ENTRIES[INVOICE]]
        assert await bot.count(tables.inbox) == 2


async def test_an_encrypted_room_is_told_so_once_and_not_answered(
    bot: ServedBot, account: Person, alice: Person
) -> None:
    encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
    state = [{"type": "m.room.encryption", "state_key": "", "content": encryption}]
    room = await alice.opens(account.id, initial_state=state, is_direct=True)
    await alice.says(room, QUESTION)
    [told] = await alice.until_answered(room, account.id)
    assert told.content["msgtype"] == "m.notice"
    assert "端到端加密" in told.text
    assert "end-to-end encrypted" in told.text
    # One that becomes encrypted.
    other = await alice.opens(account.id)
    await alice.says(other, QUESTION)
    await alice.until_answered(other, account.id)
    await alice.sets(other, "m.room.encryption", encryption)
    await alice.sends(other, "m.room.encrypted", encryption | {"ciphertext": "x"})
    shown = await alice.until_answered(other, account.id, 2)
    await bot.quiet()
    assert [one.content["msgtype"] for one in shown] == ["m.text", "m.notice"]
    assert len(await alice.until_answered(room, account.id)) == 1


async def test_a_case_is_answered_in_its_thread_of_the_agents_room(
    synapse: Synapse, account: Person, alice: Person, bob: Person, served: Served
) -> None:
    agents = await bob.opens(account.id)
    await account.joins(agents)
    sections = {"shop": section(synapse, account, agents_chat=agents)}
    async with served(sections=sections) as bot:
        room = await alice.opens(account.id)
        await alice.says(room, UNKNOWN)
        [root, post] = (await bob.until_answered(agents, account.id, 2))[:2]
        assert root.thread is None
        assert alice.id[1:].partition(":")[0] in root.text
        assert post.thread == root.event_id
        assert UNKNOWN in post.text
        await bob.says(agents, "What shall we tell her?")
        await bob.says(agents, "We sell **three** of them.", **in_thread(root.event_id))
        answers = await alice.until(
            room, lambda shown: "three" in shown[-1].text, sender=account.id
        )
        assert all("What shall we" not in one.text for one in answers)
        found = await bot.application.conversations.find(ConversationId("shop", room))
        assert found is not None
        assert found.state == State.AGENT


@pytest.mark.slow
async def test_a_homeserver_that_restarts_loses_nothing(
    synapse: Synapse, bot: ServedBot, account: Person, alice: Person
) -> None:
    room = await alice.opens(account.id)
    await alice.says(room, QUESTION)
    await alice.until_answered(room, account.id)
    synapse.stop()
    try:
        # Nobody is there to be asked.
        async with asyncio.timeout(60):
            while "shop" not in bot.application.outbox.stopped:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        synapse.start()
    await alice.says(room, POSTAGE)
    answers = await alice.until_answered(room, account.id, 2)
    assert [said(one) for one in answers] == [ANSWER, ENTRIES[POSTAGE]]


async def test_a_homeserver_that_asks_for_patience_gets_it_and_no_answer_is_lost(
    synapse: Synapse, bot: ServedBot, account: Person, alice: Person
) -> None:
    rooms = [await alice.opens(account.id) for _ in range(2)]
    for room in rooms:
        await alice.says(room, QUESTION)
        await alice.until_answered(room, account.id)
    synapse.slow_down(account.id)
    await asyncio.gather(*[alice.says(room, INVOICE) for room in rooms])
    for room in rooms:
        answers = await alice.until_answered(room, account.id, 2)
        assert [said(one) for one in answers] == [ANSWER, ENTRIES[INVOICE]]


async def test_no_token_and_no_words_are_in_the_log(
    synapse: Synapse,
    account: Person,
    alice: Person,
    served: Served,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(sections={"shop": section(synapse, account)}):
        caplog.set_level(logging.DEBUG)
        room = await alice.opens(account.id)
        await alice.says(room, QUESTION)
        await alice.until_answered(room, account.id)
    assert caplog.records
    for record in caplog.records:
        assert account.token not in record.getMessage()
        if record.levelno > logging.DEBUG:
            assert QUESTION not in record.getMessage()
