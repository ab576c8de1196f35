"""The Matrix adapter alone against a real Synapse: sending, refusals, rooms that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from adapters.matrix.adapter import MatrixAdapter
from adapters.matrix.homeserver import FILE_BYTES, Homeserver
from adapters.matrix.position import KIND
from adapters.matrix.settings import MatrixSettings
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import (
    Attachment,
    ConversationId,
    ConversationMoved,
    DeliveryReceipt,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OutboundMessage,
)
from tests.integration.test_matrix import account as account
from tests.integration.test_matrix import alice as alice
from tests.platforms.synapse import Person, Synapse

pytestmark = pytest.mark.asyncio


def make(synapse: Synapse, account: Person, **settings: Any) -> MatrixAdapter:
    known = {"homeserver": synapse.url, "access_token": account.token}
    given = {"platform": "matrix"} | known | settings
    return MatrixAdapter("shop", MatrixAdapter.settings_type.model_validate(given))


@pytest_asyncio.fixture
async def adapter(synapse: Synapse, account: Person) -> AsyncIterator[MatrixAdapter]:
    async with make(synapse, account) as opened:
        yield opened


@pytest_asyncio.fixture
async def room(account: Person, alice: Person) -> str:
    """A room of the two."""
    opened = await alice.opens(account.id)
    await account.joins(opened)
    return opened


def outbound(room: str, text: str, **fields: Any) -> OutboundMessage:
    conversation = ConversationId("shop", room, fields.pop("thread", None))
    return OutboundMessage(conversation=conversation, **({"id": "m1", "text": text} | fields))


class Heard:
    """What an adapter tells while it listens."""

    def __init__(self) -> None:
        self.events: list[InboundEvent] = []
        self._came = asyncio.Event()

    async def follow(self, adapter: MatrixAdapter) -> None:
        async for event in adapter.listen():
            self.events.append(event)
            self._came.set()

    async def until(self, count: int) -> list[InboundEvent]:
        async with asyncio.timeout(60):
            while len(self.events) < count:
                self._came.clear()
                await self._came.wait()
        return self.events


@asynccontextmanager
async def listening(adapter: MatrixAdapter) -> AsyncIterator[Heard]:
    """The first time it hears what comes after its start alone."""
    heard, settings = Heard(), adapter.settings
    assert isinstance(settings, MatrixSettings)
    token = settings.access_token.get_secret_value()
    server = Homeserver("shop", settings.homeserver, token)
    me = await server.whoami()

    async def started() -> bool:
        return bool(await server.load(me, KIND))

    following = asyncio.create_task(heard.follow(adapter))
    try:
        await until(started)
        await server.close()
        yield heard
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_message_sent_twice_under_one_id_is_one_message(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    first = await adapter.send(outbound(room, "Two **days**."))
    again = await adapter.send(outbound(room, "Two **days**."))
    assert first == again
    [shown] = await alice.until_answered(room, account.id)
    assert (shown.text, shown.html) == ("Two days.", "<p>Two <strong>days</strong>.</p>")


async def test_a_message_is_edited_in_its_thread(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    root = await alice.says(room, "How long?")
    receipt = await adapter.send(outbound(room, "Well", thread=root))
    await adapter.edit(receipt, outbound(room, "Two days.", thread=root))
    await adapter.send(outbound(room, "Or three.", id="m2", in_reply_to=root))
    shown = await alice.until_answered(room, account.id, 2)
    assert [(one.text, one.thread, one.replied_to) for one in shown] == [
        ("Two days.", root, None),
        ("Or three.", None, root),
    ]


async def test_the_longest_text_is_taken_in_an_edit(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    receipt = await adapter.send(outbound(room, "…"))
    longest = "😀" * adapter.capabilities.text_length
    await adapter.edit(receipt, outbound(room, longest))
    [shown] = await alice.until_answered(room, account.id)
    assert shown.text == longest


async def test_a_room_that_threw_the_bot_out_takes_no_message(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    await alice.call("POST", f"/rooms/{room}/ban", {"user_id": account.id})
    with pytest.raises(MessageRejected, match=r"M_FORBIDDEN.*invite it again"):
        await adapter.send(outbound(room, "Hello"))


async def test_nothing_is_sent_into_an_encrypted_room(
    adapter: MatrixAdapter, alice: Person, room: str
) -> None:
    await alice.sets(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    with pytest.raises(MessageRejected, match="encrypted"):
        await adapter.send(outbound(room, "Hello"))


async def test_a_refused_token_says_what_to_do(synapse: Synapse, account: Person) -> None:
    await account.call("POST", "/logout", {})
    async with make(synapse, account) as adapter:
        with pytest.raises(ChannelUnauthorized, match="M_UNKNOWN_TOKEN: log in as the bot again"):
            await adapter.check()
        with pytest.raises(ChannelUnauthorized, match="log in as the bot again"):
            await anext(adapter.listen().__aiter__())


async def test_a_limit_says_how_long_to_wait(
    synapse: Synapse, adapter: MatrixAdapter, account: Person, room: str
) -> None:
    synapse.slow_down(account.id)
    sent = [adapter.send(outbound(room, "Hello", id=f"m{number}")) for number in range(5)]
    with pytest.raises(ChannelUnavailable, match="M_LIMIT_EXCEEDED") as raised:
        await asyncio.gather(*sent)
    assert 0 < (raised.value.retry_after_seconds or 0) <= 60


async def test_an_address_where_no_homeserver_is_says_so(synapse: Synapse, account: Person) -> None:
    async with make(synapse, account, homeserver=f"{synapse.url}/elsewhere") as adapter:
        with pytest.raises(ChannelUnavailable, match="is no homeserver"):
            await adapter.check()
    async with make(synapse, account, homeserver="http://127.0.0.1:9") as adapter:
        with pytest.raises(ChannelUnavailable, match="did not answer"):
            await adapter.check()


async def test_check_says_who_the_bot_is_and_what_its_agents_room_lacks(
    synapse: Synapse, account: Person, alice: Person, room: str
) -> None:
    async with make(synapse, account, agents_chat=room) as adapter:
        said = await adapter.check()
        assert said.startswith(f"{account.id} “shopbot-")
        assert said.endswith("agents in a room of 2 members")
    other = await alice.opens()
    async with make(synapse, account, agents_chat=other) as adapter:
        with pytest.raises(ChannelUnauthorized, match=f"invite {account.id}"):
            await adapter.check()


async def test_a_file_is_fetched_and_nothing_else_is(adapter: MatrixAdapter, alice: Person) -> None:
    address = await alice.uploads(b"a picture")
    assert await adapter.fetch(Attachment(url=address)) == b"a picture"
    for wrong in ("https://a.example/", "mxc://a/../b", f"{address}x", "geo:1,2"):
        with pytest.raises(MessageRejected):
            await adapter.fetch(Attachment(url=wrong))
    with pytest.raises(MessageRejected, match=f"over {FILE_BYTES} bytes"):
        await adapter.fetch(Attachment(url=await alice.uploads(b"x" * (FILE_BYTES + 1))))


async def test_typing_is_seen_until_the_message_comes(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    since = (await alice.call("GET", "/sync"))["next_batch"]
    await adapter.show_typing(ConversationId("shop", room))
    await until_typing(alice, room, since, [account.id])
    await adapter.send(outbound(room, "Hello"))
    await until_typing(alice, room, since, [])


async def test_typing_is_seen_after_the_connection_broke(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    since = (await alice.call("GET", "/sync"))["next_batch"]
    await adapter.check()
    await adapter.close()
    async with adapter:
        await adapter.show_typing(ConversationId("shop", room))
        await until_typing(alice, room, since, [account.id])


async def until_typing(alice: Person, room: str, since: str, who: list[str]) -> None:
    shown: list[Any] = []
    async with asyncio.timeout(60):
        while {"type": "m.typing", "content": {"user_ids": who}} not in shown:
            told = await alice.call("GET", "/sync", since=since, timeout="20000")
            since = told["next_batch"]
            entry = told.get("rooms", {}).get("join", {}).get(room, {})
            shown = entry.get("ephemeral", {}).get("events", [])


async def test_an_edit_and_a_deletion_name_the_conversation_of_the_message(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    async with listening(adapter) as heard:
        root = await alice.says(room, "One")
        place = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        asked = await alice.says(room, "Two", **place)
        await alice.edits(room, asked, "Three")
        await alice.redacts(room, asked)
        first, second, edited, deleted = (await heard.until(4))[:4]
    thread = ConversationId("shop", room, root)
    assert isinstance(first, MessageReceived)
    assert first.conversation == ConversationId("shop", room)
    assert (first.sender.id, first.sender.role) == (alice.id, "customer")
    assert first.sender.display_name == alice.id[1:].partition(":")[0]
    assert isinstance(second, MessageReceived)
    assert isinstance(edited, MessageEdited)
    assert isinstance(deleted, MessageDeleted)
    assert (edited.message_id, edited.text) == (asked, "Three")
    assert deleted.message_id == asked
    assert {one.conversation for one in (second, edited, deleted)} == {thread}


async def test_an_edit_of_what_was_said_before_the_start_finds_its_thread(
    synapse: Synapse, alice: Person, account: Person, room: str
) -> None:
    async with make(synapse, account) as adapter, listening(adapter) as heard:
        root = await alice.says(room, "One")
        place = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        asked = await alice.says(room, "Two", **place)
        await heard.until(2)
    async with make(synapse, account) as adapter, listening(adapter) as heard:
        await alice.edits(room, asked, "Three")
        while not isinstance(edited := (await heard.until(1)).pop(0), MessageEdited):
            # What was not confirmed is told again.
            assert isinstance(edited, MessageReceived)
    assert edited.conversation == ConversationId("shop", room, root)


async def test_what_was_stored_is_not_told_again(
    synapse: Synapse, alice: Person, account: Person, room: str
) -> None:
    async def position() -> Any:
        return (await account.call("GET", f"/user/{account.id}/account_data/{KIND}"))["since"]

    async with make(synapse, account) as adapter, listening(adapter) as heard:
        before = await position()
        await alice.says(room, "One")
        await heard.until(1)

        async def confirmed() -> bool:
            return bool(await position() != before)

        await until(confirmed)
    async with make(synapse, account) as adapter, listening(adapter) as heard:
        await alice.says(room, "Two")
        [event] = await heard.until(1)
    assert isinstance(event, MessageReceived)
    assert event.text == "Two"


async def test_what_the_account_writes_elsewhere_is_not_heard(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    async with listening(adapter) as heard:
        await account.says(room, "I write by hand.")
        await alice.says(room, "Hello")
        [event] = await heard.until(1)
        assert isinstance(event, MessageReceived)
        assert event.text == "Hello"


async def test_a_direct_room_stays_direct_when_others_join(
    synapse: Synapse, adapter: MatrixAdapter, alice: Person, account: Person
) -> None:
    async with listening(adapter) as heard, Person(synapse, "bob") as bob:
        room = await alice.opens(account.id, bob.id, is_direct=True)
        await bob.joins(room)
        await alice.says(room, "Hello")
        [event] = await heard.until(1)
        assert isinstance(event, MessageReceived)
        assert event.addressed_to_bot
        assert event.conversation == ConversationId("shop", room)


async def test_a_room_of_two_is_a_group_once_somebody_joins(
    synapse: Synapse, adapter: MatrixAdapter, alice: Person, room: str
) -> None:
    async with listening(adapter) as heard, Person(synapse, "bob") as bob:
        await alice.says(room, "Hello")
        await heard.until(1)
        await alice.call("POST", f"/rooms/{room}/invite", {"user_id": bob.id})
        await bob.joins(room)
        asked = await bob.says(room, "Hello")
        alone, together = await heard.until(2)
    assert isinstance(alone, MessageReceived)
    assert isinstance(together, MessageReceived)
    assert (alone.addressed_to_bot, alone.in_group) == (True, False)
    assert (together.addressed_to_bot, together.in_group) == (False, True)
    assert together.conversation == ConversationId("shop", room, asked)


async def test_a_room_that_is_upgraded_is_followed_and_no_other_room_taken_over(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    others = await alice.opens(account.id)
    await account.joins(others)
    async with listening(adapter) as heard:
        stolen = {"body": "moved", "replacement_room": others}
        claimed = {"predecessor": {"room_id": room, "event_id": "$a"}}
        hostile = await alice.opens(account.id, creation_content=claimed)
        await alice.says(hostile, "Hello")
        await heard.until(1)
        await alice.sets(hostile, "m.room.tombstone", stolen)
        body = {"new_version": "11"}
        new = (await alice.call("POST", f"/rooms/{room}/upgrade", body))["replacement_room"]
        await alice.call("POST", f"/rooms/{new}/invite", {"user_id": account.id})
        await alice.says(new, "Still there?")
        moved, said = (await heard.until(3))[1:]
        if isinstance(moved, MessageReceived):
            moved, said = said, moved
    assert isinstance(moved, ConversationMoved)
    assert (moved.conversation.chat, moved.moved_to.chat) == (room, new)
    assert isinstance(said, MessageReceived)
    assert said.conversation.chat == new


async def test_an_edit_without_a_receipt_is_a_new_message(
    adapter: MatrixAdapter, alice: Person, account: Person, room: str
) -> None:
    await adapter.edit(DeliveryReceipt(), outbound(room, "Hello"))
    [shown] = await alice.until_answered(room, account.id)
    assert shown.text == "Hello"
