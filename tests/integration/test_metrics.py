"""What /metrics shows: every fact once, bounded names, and as much to nobody who may not know."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kfbot.chat_model import Usage
from kfbot.errors import (
    ChannelUnauthorized,
    ChannelUnavailable,
    ChatModelUnavailable,
    CompletionInvalid,
    MessageRejected,
    StoreUnavailable,
)
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.observability import vitals
from kfbot.observability.metrics import MODELS, _known, model_request
from kfbot.store import tables
from kfbot.store.conversation_events import record_event
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.gauges import GaugeStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.conftest import ENTRIES, Served, ServedBot
from tests.integration.stores import claimed, listening, message, replied

pytestmark = pytest.mark.asyncio
QUESTION = "When will my refund arrive?"
UNKNOWN = "Do you sell submarines to the navy?"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STANDING_SECONDS", "KNOWLEDGE_SECONDS", "DISK_SECONDS"):
        monkeypatch.setattr(vitals, name, 0.0)
    # A reading may take all the time there is.
    monkeypatch.setattr(vitals, "_SHARE", 1e9)


async def scraped(bot: ServedBot, **options: Any) -> str:
    async with bot.http.get(f"{bot.url}/metrics", **options) as response:
        assert response.status == 200, await response.text()
        return await response.text()


def samples_of(text: str) -> Samples:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels; 0 where there is none."""
    wanted = frozenset(labels.items())
    return sum(number for (one, has), number in samples.items() if one == name and wanted <= has)


class Grown:
    """How much a counter has grown since."""

    def __init__(self, bot: ServedBot, before: Samples) -> None:
        self._bot = bot
        self._before = before
        self.now: Samples = before

    async def look(self) -> None:
        self.now = samples_of(await scraped(self._bot))

    def by(self, name: str, **labels: str) -> float:
        return value(self.now, name, **labels) - value(self._before, name, **labels)


async def since_now(bot: ServedBot) -> Grown:
    return Grown(bot, samples_of(await scraped(bot)))


def said(text: str, number: int, clock: Clock) -> MessageReceived:
    return MessageReceived(
        event_id=f"e-{number}",
        conversation=ConversationId("shop", "chat-1"),
        message_id=f"m-{number}",
        sender=Sender("customer-1"),
        sent_at=clock(),
        text=text,
    )


@asynccontextmanager
async def shop_of(served: Served, clock: Clock, **given: Any) -> AsyncIterator[ServedBot]:
    shop = FakeAdapter("shop")
    shop.failures += given.pop("failures", [])
    async with served(channels={"shop": shop}, clock=clock, **given) as bot:
        yield bot


# What is counted


async def test_a_question_is_counted_from_its_event_to_the_reply(
    served: Served, clock: Clock
) -> None:
    async with shop_of(served, clock) as bot:
        grown = await since_now(bot)
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.quiet()
        await grown.look()
    assert grown.by("kfbot_events_total", channel="shop", kind="message") == 1
    assert grown.by("kfbot_events_repeated_total", channel="shop") == 1
    turn = {"channel": "shop", "decision": "answer", "knowledge_base": "fake", "reason": ""}
    assert grown.by("kfbot_turns_total", **turn) == 1
    assert grown.by("kfbot_turn_confidence_count", decision="answer") == 1
    assert grown.by("kfbot_turn_seconds_count", channel="shop") == 1
    assert grown.by("kfbot_turn_stage_seconds_count", stage="commit") == 1
    assert grown.by("kfbot_messages_sent_total", channel="shop") == 1
    assert grown.by("kfbot_send_seconds_count", channel="shop") == 1
    assert grown.by("kfbot_first_reply_seconds_count", channel="shop") == 1
    assert value(grown.now, "kfbot_channel_up", channel="shop") == 1
    assert value(grown.now, "kfbot_store_up") == 1
    assert value(grown.now, "kfbot_knowledge_documents", knowledge_base="fake") == len(ENTRIES)


async def test_a_reply_that_was_postponed_is_timed_from_the_question(
    served: Served, clock: Clock
) -> None:
    failures = [ChannelUnavailable("shop", "busy")]
    async with shop_of(served, clock, failures=failures) as bot:
        grown = await since_now(bot)
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.quiet()
        await grown.look()
        assert grown.by("kfbot_messages_postponed_total", channel="shop") == 1
        assert value(grown.now, "kfbot_outbox_messages") == 1
        assert value(grown.now, "kfbot_outbox_due_age_seconds") == 0
        clock.advance(minutes=7)
        assert value(samples_of(await scraped(bot)), "kfbot_outbox_age_seconds") > 400
        await bot.quiet()
        await grown.look()
    assert grown.by("kfbot_first_reply_seconds_count", channel="shop") == 1
    assert grown.by("kfbot_first_reply_seconds_sum", channel="shop") > 400
    assert value(grown.now, "kfbot_outbox_age_seconds") == 0


async def test_what_an_agent_says_instead_is_no_reply_of_the_bots(
    served: Served, clock: Clock
) -> None:
    failures = [ChannelUnavailable("shop", "busy")]
    async with shop_of(served, clock, failures=failures) as bot:
        grown = await since_now(bot)
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.quiet()
        place = f"/api/v1/conversations/{await bot.id_of('chat-1', 'shop')}"
        await bot.post(f"{place}/claim", {"agent": "ann"})
        await bot.post(f"{place}/reply", {"agent": "ann", "text": "I am here."})
        clock.advance(minutes=15)
        await bot.quiet()
        await grown.look()
    assert grown.by("kfbot_messages_sent_total", channel="shop") == 1
    assert grown.by("kfbot_first_reply_seconds_count", channel="shop") == 0


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_reply_that_never_came_is_forgotten_and_nothing_is_timed_by_it(
    served: Served, clock: Clock, given_up: bool
) -> None:
    busy, blocked = ChannelUnavailable("shop", "busy"), MessageRejected("shop", "blocked")
    async with shop_of(served, clock, failures=[blocked if given_up else busy]) as bot:
        grown = await since_now(bot)
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.quiet()
        place = f"/api/v1/conversations/{await bot.id_of('chat-1', 'shop')}"
        await bot.post(f"{place}/claim", {"agent": "ann"})
        clock.advance(minutes=15)
        await bot.quiet()
        # The bot says that it is back.
        await bot.post(f"{place}/handback", {"agent": "ann"})
        await bot.quiet()
        await grown.look()
    assert grown.by("kfbot_messages_sent_total", channel="shop") == 1
    assert grown.by("kfbot_first_reply_seconds_count", channel="shop") == 0


async def test_what_is_given_up_is_counted_and_stays_to_be_seen(
    served: Served, clock: Clock
) -> None:
    async with shop_of(served, clock, failures=[MessageRejected("shop", "blocked")]) as bot:
        grown = await since_now(bot)
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.quiet()
        await grown.look()
    assert grown.by("kfbot_messages_dead_total", channel="shop") == 1
    assert grown.by("kfbot_messages_sent_total", channel="shop") == 0
    assert grown.by("kfbot_first_reply_seconds_count", channel="shop") == 0
    assert value(grown.now, "kfbot_dead_letters", kind="message") == 1


async def test_customers_who_wait_for_a_person_are_seen(served: Served, clock: Clock) -> None:
    async with shop_of(served, clock) as bot:
        grown = await since_now(bot)
        await bot.application.inbox.accept(said(UNKNOWN, 1, clock))
        await bot.quiet()
        clock.advance(minutes=3)
        await grown.look()
        assert grown.by("kfbot_handoffs_total", channel="shop", reason="unsure") == 1
        assert value(grown.now, "kfbot_handoffs_waiting") == 1
        assert 179 < value(grown.now, "kfbot_handoff_longest_wait_seconds") < 190
        number = await bot.id_of("chat-1", "shop")
        await bot.post(f"/api/v1/conversations/{number}/claim", {"agent": "ann"})
        await grown.look()
    assert value(grown.now, "kfbot_handoffs_waiting") == 0
    assert value(grown.now, "kfbot_handoff_longest_wait_seconds") == 0


async def test_a_channel_whose_credentials_are_refused_is_down(
    served: Served, clock: Clock
) -> None:
    async with shop_of(served, clock, failures=[ChannelUnauthorized("shop", "revoked")]) as bot:
        await bot.application.inbox.accept(said(QUESTION, 1, clock))
        await bot.quiet()
        found = samples_of(await scraped(bot))
    assert value(found, "kfbot_channel_up", channel="shop") == 0


async def test_a_question_over_http_is_counted_with_its_address(bot: ServedBot) -> None:
    grown = await since_now(bot)
    await bot.post("/api/v1/ask", {"query": QUESTION})
    await bot.ask(QUESTION, "c-1")
    await bot.get("/api/v1/conversations/7", headers={"Host": "elsewhere"})
    await bot._request("GET", "/no/such/place?name=kim")
    await grown.look()
    assert grown.by("kfbot_turns_total", channel="api", decision="answer") == 2
    assert grown.by("kfbot_first_reply_seconds_count", channel="api") == 1
    route = "/api/v1/conversations/{conversation_id}"
    asked = {"route": "/api/v1/ask", "method": "POST", "status": "200"}
    assert grown.by("kfbot_http_requests_total", **asked) == 2
    assert grown.by("kfbot_http_requests_total", status="403") == 1
    assert grown.by("kfbot_http_requests_total", route="unknown", status="404") == 1
    assert route.split("{")[0] in {
        dict(labels)["route"].split("{")[0]
        for name, labels in grown.now
        if name == "kfbot_http_requests_total"
    }


async def test_nothing_that_a_customer_says_or_is_becomes_a_label(
    served: Served, clock: Clock
) -> None:
    async with shop_of(served, clock) as bot:
        words = "My name is Kimberley and my number is 4711."
        await bot.application.inbox.accept(said(words, 1, clock))
        await bot.quiet()
        async with bot.http.request("PURGE", f"{bot.url}/chat/kimberley"):
            pass
        text = await scraped(bot)
    # Numbers may look like anything.
    labels = " ".join(one for _, pairs in samples_of(text) for pair in pairs for one in pair)
    assert "shop" in labels
    for private in ("Kimberley", "kimberley", "4711", "customer-1", "chat-1", "PURGE"):
        assert private not in labels


async def test_models_that_endpoints_make_up_do_not_grow_without_end() -> None:
    labels = {_known(f"model-{number}") for number in range(3 * MODELS)}
    assert len(labels) <= MODELS + 1
    assert "other" in labels


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "completed"),
        (ChatModelUnavailable("away"), "unavailable"),
        (CompletionInvalid("garbage"), "invalid"),
        (GeneratorExit(), "broken_off"),
    ],
)
async def test_a_request_to_a_model_is_counted_however_it_ends(
    bot: ServedBot, error: BaseException | None, result: str
) -> None:
    grown, usage = await since_now(bot), Usage(prompt_tokens=5)
    try:
        with model_request("small", usage):
            usage.add(Usage(prompt_tokens=40, completion_tokens=2, first_token_ms=30.0))
            if error is not None:
                raise error
    except type(error or StoreUnavailable):
        pass
    await grown.look()
    assert grown.by("kfbot_chat_model_requests_total", result=result) == 1
    assert grown.by("kfbot_chat_model_tokens_total", kind="prompt") == 40
    assert grown.by("kfbot_chat_model_tokens_total", kind="completion") == 2
    assert grown.by("kfbot_chat_model_first_token_seconds_sum") == pytest.approx(0.03)


# The store


async def test_a_store_that_is_away_is_said_and_nothing_fails(
    bot: ServedBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: GaugeStore) -> None:
        raise StoreUnavailable("database: gone")

    monkeypatch.setattr(GaugeStore, "_standing", gone)
    monkeypatch.setattr(bot.application.gauges._database, "read", gone)
    found = samples_of(await scraped(bot))
    assert value(found, "kfbot_store_up") == 0
    assert not any(name == "kfbot_outbox_messages" for name, _ in found)
    assert value(found, "kfbot_build_info") == 1


@pytest.fixture
def database_url(url: str) -> str:
    return url


async def test_what_waits_is_read_alike_from_both_databases(
    database: Database,
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    gauges = GaugeStore(database, clock)
    empty = await gauges.standing()
    assert (empty.unsent, empty.unsent_since, empty.waiting_since) == (0, None, None)
    _, work = await replied(messages, outcomes, conversations, clock, "one", "two")
    first = work.unsent[0]
    await messages.not_sent(first, "busy", retry_at=clock() + timedelta(hours=1))
    await messages.accept(message(clock, 2, ConversationId("shop", "chat-2")))
    await database.write(
        lambda c: record_event(c, work.conversation.id, "conversation.handed_off", clock())
    )
    clock.advance(seconds=60)
    found = await gauges.standing()
    assert (found.unsent, found.lanes_working, found.lanes_ready) == (2, 1, 1)
    assert found.unsent_since == first.created_at
    assert found.due_since == work.unsent[1].created_at
    assert 59 < (found.at - found.due_since).total_seconds() < 61
    [lane] = await claimed(messages, "two")
    assert (await gauges.standing()).lanes_ready == 0
    assert lane.owner == "two"


async def test_looking_at_what_waits_reads_no_whole_table(database: Database, clock: Clock) -> None:
    heard: dict[str, Any] = {}

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        heard[statement] = parameters

    with listening("before_cursor_execute", hear):
        await GaugeStore(database, clock).standing()
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's plans depend on its statistics")

    def plans(connection: Any) -> list[str]:
        return [
            f"{row[3]} in {statement}"
            for statement, parameters in heard.items()
            if statement.startswith("SELECT")
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    found = await database.read(plans)
    assert len(heard) >= 6
    tables_read = "|".join(table.name for table in tables.metadata.sorted_tables)
    for plan in found:
        assert not re.match(rf'SCAN "?({tables_read})"?(?! USING)', plan), plan


# Who may look


async def test_who_may_not_use_the_api_may_not_look_either(served: Served) -> None:
    web = {"tokens": ["api-token"], "metrics_token": "only-to-look"}
    async with served(web=web) as bot:

        async def status(path: str, token: str | None = None, scheme: str = "Bearer") -> int:
            headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
            async with bot.http.get(bot.url + path, headers=headers) as response:
                return response.status

        assert await status("/metrics") == 401
        assert await status("/metrics", "wrong") == 401
        assert await status("/metrics", "only-to-look", "Basic") == 401
        assert await status("/metrics", "api-token") == 200
        assert await status("/metrics", "only-to-look") == 200
        assert await status("/api/v1/conversations", "only-to-look") == 401


async def test_without_tokens_only_this_machine_may_look(bot: ServedBot) -> None:
    for headers in ({"Host": "shop.example"}, {"X-Forwarded-For": "10.0.0.1"}):
        async with bot.http.get(f"{bot.url}/metrics", headers=headers) as response:
            assert response.status in (401, 403)
            assert "kfbot_" not in await response.text()


async def test_openmetrics_is_spoken_to_who_accepts_it(bot: ServedBot) -> None:
    for version, is_spoken in (("1.0.0", True), ("x", False)):
        headers = {"Accept": f"application/openmetrics-text; version={version}"}
        async with bot.http.get(f"{bot.url}/metrics", headers=headers) as response:
            assert response.status == 200
            assert ("openmetrics" in response.headers["Content-Type"]) == is_spoken
            assert (await response.text()).endswith("# EOF\n") == is_spoken
