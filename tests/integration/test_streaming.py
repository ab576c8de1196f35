"""How often an answer that grows is shown, what its channel's limits leave of it, and crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kfbot.adapter import Capabilities
from kfbot.model_settings import ChatModelSettings
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.growing import DraftStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.streaming import Streaming
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.stores import CHAT, claimed, count, message, outcome_in, unsent

pytestmark = pytest.mark.asyncio

EDITS = Capabilities(edit=True, edit_interval_seconds=2.0)


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


class Pauses:
    """Pauses that end when the test says so."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun: asyncio.Queue[float] = asyncio.Queue()
        self.ends: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        self.begun.put_nowait(seconds)
        await self.ends.get()
        self.clock.advance(seconds=seconds)

    async def next(self) -> float:
        """The next pause begins; how long it is to be."""
        async with asyncio.timeout(60):
            return await self.begun.get()

    def end(self) -> None:
        self.ends.put_nowait(None)


class Scene:
    """A lane whose turn is being taken."""

    def __init__(
        self, database: Database, clock: Clock, capabilities: Capabilities = EDITS
    ) -> None:
        self.channel = FakeAdapter(capabilities=capabilities)
        self.messages = MessageStore(database, clock)
        self.outcomes = OutcomeStore(database, clock)
        self.conversations = ConversationStore(database)
        self.pauses, self.clock, self.database = Pauses(clock), clock, database
        self.streaming = self.another()

    def another(self) -> Streaming:
        """Of another process."""
        drafts = DraftStore(self.database, self.clock)
        channels = {"shop": self.channel}
        return Streaming(drafts, channels, self.clock, ChatModelSettings(), self.pauses)

    async def claimed(self, owner: str = "one") -> tuple[Any, Any, Any]:
        [lane] = await claimed(self.messages, owner)
        events = (await self.messages.work(lane)).waiting or ()
        return lane, await self.conversations.get(lane.conversation_id), events

    async def asked(self) -> tuple[Any, Any, Any]:
        await self.messages.accept(message(self.clock, 1))
        return await self.claimed()


async def test_an_answer_that_is_complete_within_the_first_interval_is_never_shown_before(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    turn = await scene.asked()
    async with scene.streaming.showing(*turn) as on_text:
        assert on_text is not None
        await on_text("One.")
        assert await scene.pauses.next() == 2.0
        await on_text("One. Two.")
    assert (scene.channel.sent, await count(database, tables.draft)) == ([], 0)


async def test_nothing_is_shown_to_who_is_with_an_agent_by_then(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    turn = await scene.asked()
    async with scene.streaming.showing(*turn) as on_text:
        assert on_text is not None
        await on_text("One.")
        assert await scene.pauses.next() == 2.0
        await OutcomeStore(database, clock).change_owner(
            turn[1].id, "claim", agent="Ana", notice="", pushed=True
        )
        scene.pauses.ends.put_nowait(None)
        stream = next(one for one in asyncio.all_tasks() if one.get_name() == "stream")
        async with asyncio.timeout(60):
            await stream
    assert (scene.channel.sent, await count(database, tables.draft)) == ([], 0)


async def test_only_the_latest_text_is_shown_after_each_interval(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    async with scene.streaming.showing(*await scene.asked()) as on_text:
        assert on_text is not None
        await on_text("One.")
        await scene.pauses.next()
        scene.pauses.end()
        await scene.pauses.next()
        assert [one.text for one in scene.channel.sent] == ["One."]
        await on_text("One. Two.")
        await on_text("One. Two. Three.")
        scene.pauses.end()
        await scene.pauses.next()
    assert [(of, one.text) for of, one in scene.channel.edited] == [("fake-1", "One. Two. Three.")]


async def test_edits_that_the_account_has_none_left_of_are_left_out(
    database: Database, clock: Clock
) -> None:
    few = Capabilities(edit=True, edit_interval_seconds=1.0, edits_per_minute=2)
    scene = Scene(database, clock, few)
    async with scene.streaming.showing(*await scene.asked()) as on_text:
        assert on_text is not None
        texts = [f"{'word ' * number}end." for number in range(1, 9)]
        await on_text(texts[0])
        await scene.pauses.next()
        for text in texts:
            await on_text(text)
            scene.pauses.end()
            await scene.pauses.next()
    assert len(scene.channel.sent) == 1
    assert scene.channel.edited == []


async def test_nothing_is_shown_while_an_older_message_waits(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock, Capabilities(edit=True, edit_interval_seconds=0))
    lane, conversation, events = await scene.asked()
    await scene.outcomes.agent_says(lane.conversation_id, "Ana", "Hello.", pushed=True)
    conversation = await scene.conversations.get(lane.conversation_id)
    async with scene.streaming.showing(lane, conversation, events) as on_text:
        assert on_text is not None
        await on_text("One.")
        await stream_ended()
    assert (scene.channel.sent, await count(database, tables.draft)) == ([], 0)


async def stream_ended() -> None:
    """Until the stream shows nothing more, all by itself."""
    [task] = (one for one in asyncio.all_tasks() if one.get_name() == "stream")
    async with asyncio.timeout(60):
        await asyncio.wait([task])


async def show(scene: Scene, turn: tuple[Any, Any, Any], text: str) -> None:
    """Show a text, and have the process die: nothing is committed of its turn."""
    scene.channel.capabilities = Capabilities(edit=True, edit_interval_seconds=0)
    async with scene.another().showing(*turn) as on_text:
        assert on_text is not None
        before = len(scene.channel.sent) + len(scene.channel.edited)
        await on_text(text)
        async with asyncio.timeout(60):
            while len(scene.channel.sent) + len(scene.channel.edited) == before:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def died(scene: Scene) -> tuple[Any, Any, Any]:
    """Another process takes over what the first had."""
    scene.clock.advance(seconds=60)
    assert await scene.messages.free_lost("two") == 1
    return await scene.claimed("two")


async def test_another_process_puts_its_outcome_in_the_place_of_what_a_dead_one_showed(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    await show(scene, await scene.asked(), "One.")
    lane, conversation, events = await died(scene)
    await show(scene, (lane, conversation, events), "One. Two.")
    outcome = await outcome_in(scene.conversations, lane, "Another.", "More.")
    await scene.outcomes.commit(lane, events, outcome, EDITS)
    assert [one.text for one in scene.channel.sent] == ["One."]
    assert [of for of, _ in scene.channel.edited] == ["fake-1"]
    first, second = await unsent(scene.messages, lane)
    assert (first.replaces, second.replaces) == (("fake-1",), ())
    assert await count(database, tables.draft) == 0


async def test_a_process_that_lost_its_lane_shows_nothing_more(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock, Capabilities(edit=True, edit_interval_seconds=0))
    turn = await scene.asked()
    await died(scene)
    async with scene.streaming.showing(*turn) as on_text:
        assert on_text is not None
        await on_text("One.")
        await stream_ended()
    assert (scene.channel.sent, await count(database, tables.draft)) == ([], 0)


async def test_a_process_that_lost_its_lane_does_not_say_any_more_what_is_shown(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    turn = await scene.asked()
    await show(scene, turn, "One.")
    await show(scene, await died(scene), "One. Two.")
    await DraftStore(database, clock).shown(turn[0], ["late"])
    [row] = await database.read(lambda c: c.execute(tables.draft.select()).all())
    assert (row.text, row.platform_ids) == ("One. Two.", ["fake-1"])


async def test_what_a_dead_process_may_have_shown_without_learning_its_id_is_kept(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    turn = await scene.asked()
    await show(scene, turn, "One.")
    # As if it had died before the id was stored.
    forgotten = tables.draft.update().values(platform_ids=[])
    await database.write(lambda c: c.execute(forgotten).rowcount)
    lane, _, events = await died(scene)
    await scene.outcomes.commit(
        lane, events, await outcome_in(scene.conversations, lane, "Another."), EDITS
    )
    [left] = await unsent(scene.messages, lane)
    assert (left.message.text, left.replaces) == ("Another.", ())
    said = await database.read(
        lambda c: c.execute(tables.message.select().order_by(tables.message.c.id)).all()
    )
    assert [(row.text, row.internal) for row in said[1:]] == [("One.", False), ("Another.", False)]


async def test_events_that_are_given_up_leave_what_was_shown_in_the_transcript(
    database: Database, clock: Clock
) -> None:
    scene = Scene(database, clock)
    lane, conversation, events = await scene.asked()
    await show(scene, (lane, conversation, events), "One.")
    await scene.outcomes.give_up([one.inbox_id for one in events])
    said = await database.read(lambda c: c.execute(tables.message.select()).all())
    assert [row.text for row in said] == ["text 1", "One."]
    assert said[-1].platform_id == "fake-1"
    assert conversation.address == CHAT
