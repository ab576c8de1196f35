"""Other systems are told what happens to conversations, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.changes import Changes
from kfbot.errors import ConversationChanged, SettingsError, StoreUnavailable
from kfbot.event_webhook_settings import EventWebhookSettings
from kfbot.event_webhooks import PARALLEL, RETRY_SECONDS, EventWebhooks
from kfbot.messages import ConversationId
from kfbot.settings import Settings, load_settings
from kfbot.store.conversation_events import ConversationEventStore, Delivery, record_event
from kfbot.store.conversations import add_conversation
from kfbot.store.engine import Database
from kfbot.store.notices import EVENTS
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import Stage, staged
from tests.dialogues.conftest import channel as channel
from tests.dialogues.conftest import stage as stage
from tests.integration.conftest import Served
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

pytestmark = pytest.mark.asyncio
SECRET = "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0ZXN0cw=="


@pytest.fixture
def database_url(url: str) -> str:
    return url


@pytest_asyncio.fixture
async def crm() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(SECRET) as receiver:
        yield receiver


def section(crm: WebhookReceiver, **given: Any) -> dict[str, Any]:
    return {"url": crm.url, "secret": SECRET, **given}


def settings_with(crm: WebhookReceiver, **given: Any) -> Settings:
    return Settings(event_webhooks={"crm": section(crm, **given)})


async def until_told(crm: WebhookReceiver, count: int) -> list[dict[str, Any]]:
    """What was told once there is so much of it; a system may get several at the same time."""
    async with asyncio.timeout(60):
        while len(crm.kept) < count:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    return sorted(crm.kept.values(), key=lambda told: str(told["timestamp"]))


async def recorded(
    database: Database, clock: Clock, chat: str = "1", event: Any = "conversation.claimed"
) -> int:
    def operation(connection: sa.Connection) -> int:
        number = add_conversation(connection, ConversationId("shop", chat), clock())
        record_event(connection, number, event, clock(), agent="anna")
        return number

    return await database.write(operation)


@asynccontextmanager
async def telling(
    database: Database, clock: Clock, crm: WebhookReceiver, changes: Changes, **given: Any
) -> AsyncIterator[ConversationEventStore]:
    store = ConversationEventStore(database, clock)
    sections = {"crm": EventWebhookSettings(**section(crm, **given))}
    running = asyncio.create_task(EventWebhooks(sections, store, changes, clock).run())
    try:
        yield store
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def settled(
    store: ConversationEventStore,
    state: str,
    attempts: int,
    waits: Callable[[Delivery], bool] = lambda _: True,
) -> Delivery:
    """The only delivery, once it is like this."""
    async with asyncio.timeout(60):
        while True:
            for found in await store.list():
                if (found.state, found.attempts) == (state, attempts) and waits(found):
                    return found
            await asyncio.sleep(0.01)


async def test_a_case_is_told_from_its_beginning_to_its_end(
    database: Database, clock: Clock, channel: FakeAdapter, crm: WebhookReceiver
) -> None:
    async with staged(database, clock, channel, settings_with(crm)) as stage:
        await stage.customer_says("Why are giraffes so tall?")
        conversation = await stage.conversation()
        clock.advance(seconds=1)
        await stage.application.handoff.claim(conversation.id, "anna")
        clock.advance(seconds=1)
        await stage.application.handoff.resolve(conversation.id, "anna")
        handed, claimed, resolved = await until_told(crm, 3)
    assert handed["type"] == "conversation.handed_off"
    case = handed["data"]["case"]
    assert (case["reason"], case["question"]) == ("unsure", "Why are giraffes so tall?")
    place = handed["data"]["conversation"]
    assert (place["id"], place["channel"]) == (conversation.id, "shop")
    assert place["customer"]["id"] == "customer-1"
    assert (claimed["type"], claimed["data"]["agent"]) == ("conversation.claimed", "anna")
    assert (resolved["type"], resolved["data"]["agent"]) == ("conversation.resolved", "anna")
    assert len(set(crm.webhook_ids)) == 3


async def test_a_conversation_that_goes_back_to_the_bot_is_told(
    database: Database, clock: Clock, channel: FakeAdapter, crm: WebhookReceiver
) -> None:
    only = settings_with(crm, events=["conversation.handed_back"])
    async with staged(database, clock, channel, only) as stage:
        await stage.customer_says("转人工")
        conversation = await stage.conversation()
        await stage.application.handoff.hand_back(conversation.id, "anna")
        [told] = await until_told(crm, 1)
        assert told["type"] == "conversation.handed_back"
        assert len(await stage.application.conversation_events.list()) == 1


async def test_a_verdict_is_told_with_the_question(
    database: Database, clock: Clock, channel: FakeAdapter, crm: WebhookReceiver
) -> None:
    async with staged(database, clock, channel, settings_with(crm)) as stage:
        await stage.customer_says("When will my refund arrive?")
        await stage.customer_presses("Not helpful")
        [told] = await until_told(crm, 1)
    assert told["type"] == "feedback.given"
    assert told["data"]["helpful"] is False
    assert told["data"]["question"] == "When will my refund arrive?"


async def test_another_channel_is_not_told_of(
    database: Database, clock: Clock, crm: WebhookReceiver
) -> None:
    await recorded(database, clock)
    store = ConversationEventStore(database, clock)
    elsewhere = EventWebhookSettings(**section(crm, channels=["web"]))
    assert await store.hand_out({"crm": elsewhere}) == 1
    assert await store.list() == ()


async def test_what_was_not_done_is_not_told(stage: Stage, database: Database) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    handoff = stage.application.handoff
    await handoff.claim(conversation.id, "anna")
    with pytest.raises(ConversationChanged):
        await handoff.claim(conversation.id, "bert")
    store = stage.application.conversation_events
    everything = EventWebhookSettings(url="http://127.0.0.1:9/", secret=SECRET)  # type: ignore[arg-type]
    await store.hand_out({"crm": everything})
    assert {one.type for one in await store.list()} == {
        "conversation.handed_off",
        "conversation.claimed",
    }
    assert len(await store.list()) == 2


async def test_a_system_that_fails_is_told_again_under_the_same_id_and_then_given_up(
    database: Database, clock: Clock, crm: WebhookReceiver
) -> None:
    changes, tries = Changes(), 1 + len(RETRY_SECONDS)
    crm.answers = [Answer(status=500)] * tries
    await recorded(database, clock)
    async with telling(database, clock, crm, changes) as store:
        for attempt in range(1, tries):
            pause = timedelta(seconds=RETRY_SECONDS[attempt - 1])
            # While it is being told it is lent out for half a minute.
            waits = await settled(
                store,
                "pending",
                attempt,
                lambda one, pause=pause: 0.75 * pause < one.next_at - clock() < 1.25 * pause,
            )
            assert (waits.status, waits.error) == (500, "it answers 500")
            clock.advance(seconds=1.3 * pause.total_seconds())
            changes.announce(EVENTS)
        dead = await settled(store, "dead", tries)
        assert dead.finished_at is not None
        assert (len(set(crm.webhook_ids)), len(crm.webhook_ids)) == (1, tries)
        assert crm.requests[0] == crm.requests[-1]
        assert await store.retry(dead.id)
        changes.announce(EVENTS)
        assert (await settled(store, "delivered", 1)).error == ""


async def test_a_system_that_is_gone_is_not_asked_again(
    database: Database, clock: Clock, crm: WebhookReceiver
) -> None:
    crm.answers = [Answer(status=410)]
    await recorded(database, clock)
    async with telling(database, clock, crm, Changes()) as store:
        assert (await settled(store, "dead", 1)).status == 410


async def test_what_a_process_that_died_was_telling_is_told_by_another(
    database: Database, clock: Clock, crm: WebhookReceiver
) -> None:
    await recorded(database, clock)
    store = ConversationEventStore(database, clock)
    webhook = EventWebhookSettings(**section(crm))
    await store.hand_out({"crm": webhook})
    [lent] = await store.claim("crm", 4, seconds=30)
    assert await store.claim("crm", 4, seconds=30) == ()
    clock.advance(seconds=31)
    [again] = await store.claim("crm", 4, seconds=30)
    assert (again.event_uid, again.body, again.attempts) == (lent.event_uid, lent.body, 2)
    # The first one was slow, not dead: what it says does not count any more.
    await store.settle(lent, "dead")
    assert (await store.list())[0].state == "pending"


async def test_a_database_that_fails_for_a_moment_breaks_off_no_other_telling(
    database: Database, clock: Clock, crm: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    settle, failed = ConversationEventStore.settle, asyncio.Event()

    async def failing(self: ConversationEventStore, delivery: Delivery, *a: Any, **b: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise StoreUnavailable("away")
        await settle(self, delivery, *a, **b)

    for chat in range(PARALLEL):
        await recorded(database, clock, str(chat))
    changes = Changes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConversationEventStore, "settle", failing)
        async with telling(database, clock, crm, changes) as store:
            async with asyncio.timeout(60):
                while len(await store.list(state="delivered")) < PARALLEL - 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            clock.advance(seconds=31)
            changes.announce(EVENTS)
            await settled(store, "delivered", 2)
    assert len(crm.webhook_ids) == PARALLEL + 1
    events = {getattr(record, "event", "") for record in caplog.records}
    assert "store_unavailable" in events
    assert "event_webhook_failed" not in events


async def test_what_is_new_is_not_left_until_a_backlog_is_told(
    database: Database, clock: Clock, crm: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = ConversationEventStore.claim

    async def claiming(self: ConversationEventStore, *a: Any, **b: Any) -> tuple[Delivery, ...]:
        found = await claim(self, *a, **b)
        if "new" not in written:
            written["new"] = await recorded(database, clock, "new")
        else:
            written.setdefault("known", len(await self.list()))
        return found

    written: dict[str, int] = {}
    for chat in range(2 * PARALLEL):
        await recorded(database, clock, str(chat))
    monkeypatch.setattr(ConversationEventStore, "claim", claiming)
    async with telling(database, clock, crm, Changes()):
        await until_told(crm, 2 * PARALLEL + 1)
    assert written["known"] == 2 * PARALLEL + 1


async def test_two_replicas_tell_each_event_once(
    database: Database, clock: Clock, crm: WebhookReceiver
) -> None:
    for chat in range(20):
        await recorded(database, clock, str(chat))
    async with telling(database, clock, crm, Changes()), telling(database, clock, crm, Changes()):
        await until_told(crm, 20)
    assert len(crm.webhook_ids) == 20


async def test_what_nobody_was_told_of_for_a_day_is_not_told_later(
    database: Database, clock: Clock, crm: WebhookReceiver
) -> None:
    await recorded(database, clock)
    clock.advance(hours=25)
    store = ConversationEventStore(database, clock)
    assert await store.hand_out({"crm": EventWebhookSettings(**section(crm))}) == 1
    assert await store.list() == ()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"secret": "whsec_"}, "secret: must be whsec_ followed by base64"),
        ({"secret": "not so secret"}, "secret: must be whsec_"),
        ({"secret": f"{SECRET[:-4]}-_=="}, "secret: must be whsec_ followed by base64"),
        ({"url": "ftp://crm.example"}, "url: must be an http or https address"),
        ({"events": ["conversation.lost"]}, "events"),
        ({"channels": ["nowhere"]}, "there is no [channels.nowhere]"),
    ],
)
async def test_a_wrong_section_is_named(tmp_path: Any, given: dict[str, Any], fault: str) -> None:
    file = tmp_path / "kfbot.toml"
    file.touch()
    good = {"url": "http://127.0.0.1:9/", "secret": SECRET}
    with pytest.raises(SettingsError) as raised:
        load_settings(file, overrides={"event_webhooks": {"crm": good | given}})
    assert fault in str(raised.value)
    assert "event_webhooks.crm" in str(raised.value)
    assert "not so secret" not in str(raised.value)


async def test_the_log_is_read_and_a_delivery_repeated_over_http(
    served: Served, crm: WebhookReceiver
) -> None:
    async with served(event_webhooks={"crm": section(crm)}) as bot:
        await bot.ask("转人工", "told")
        rows: list[dict[str, Any]] = []
        async with asyncio.timeout(60):
            while not rows:
                _, answer = await bot.get("/api/v1/event-deliveries?webhook=crm&state=delivered")
                rows = answer["data"]["deliveries"]
        [row] = rows
        assert (row["type"], row["attempts"]) == ("conversation.handed_off", 1)
        assert row["body"] == next(iter(crm.kept.values()))
        status, _ = await bot.post(f"/api/v1/event-deliveries/{row['id']}/retry", {})
        assert status == 200
        async with asyncio.timeout(60):
            while len(crm.webhook_ids) < 2:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
        assert crm.webhook_ids[0] == crm.webhook_ids[1]
        for path in ("?state=lost", "?limit=0", "?before=x"):
            assert (await bot.get(f"/api/v1/event-deliveries{path}"))[0] == 400
        assert (await bot.post("/api/v1/event-deliveries/999/retry", {}))[0] == 404
