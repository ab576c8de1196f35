"""The generic channel end to end: signed requests in, signed messages out."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from kfbot.store import connections, tables
from kfbot.web import webhooks
from tests.conftest import Clock
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

pytestmark = pytest.mark.asyncio

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's own system").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret of somebody else").decode()
QUESTION = "When will my refund arrive?"
REFUND = ENTRIES[QUESTION]
FIELDS = {"type", "conversation", "message_id", "text", "citations", "choices"}


@dataclass
class Shop:
    """The customer's system: it posts what is said in its chats, and takes our messages."""

    bot: ServedBot
    receiver: WebhookReceiver
    clock: Clock
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def body(self, text: str, chat: str = "chat-1", **fields: Any) -> bytes:
        """A message as it is posted."""
        number = next(self.numbers)
        message = {
            "conversation": chat,
            "message_id": f"shop-{number}",
            "text": text,
            "sender": {"id": "customer-1", "name": "Kim", "role": "customer"},
        }
        return json.dumps(message | fields).encode()

    async def post(
        self,
        body: bytes,
        webhook_id: str | None = None,
        *,
        secret: str = SECRET,
        at: datetime | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, Any]]:
        """Post a body, signed; status and JSON of the answer."""
        webhook_id = webhook_id or f"hook-{next(self.numbers)}"
        at = at or datetime.now(UTC)
        signed = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(webhook_id, at, body.decode()),
        }
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.bot.post("/webhooks/shop", data=body, headers=signed | named)

    async def says(self, text: str, chat: str = "chat-1", **fields: Any) -> None:
        """Let a customer write; waits for what comes of it."""
        answer = await self.post(self.body(text, chat, **fields))
        assert answer == (202, {"accepted": True})
        await self.bot.quiet()

    async def asks(self, text: str, webhook_id: str | None = None) -> list[dict[str, Any]]:
        """Let a customer write; the messages in the response."""
        status, body = await self.post(self.body(text), webhook_id)
        assert (status, set(body)) == (200, {"messages"})
        messages: list[dict[str, Any]] = body["messages"]
        return messages

    async def id(self) -> int:
        return await self.bot.id_of("chat-1", "shop")

    def got(self) -> list[tuple[str, str]]:
        """Kind and text of every message that was delivered, in order."""
        return [(message["type"], message["text"]) for message in self.receiver.kept.values()]


@asynccontextmanager
async def opened(served: Served, clock: Clock, **section: Any) -> AsyncIterator[Shop]:
    async with WebhookReceiver(SECRET) as receiver:
        section = {"callback_url": receiver.url} | section
        fixed = {"platform": "webhook", "secret": SECRET}
        chosen = {name: value for name, value in (fixed | section).items() if value is not None}
        async with served(clock=clock, sections={"shop": chosen}) as bot:
            yield Shop(bot, receiver, clock)


@pytest_asyncio.fixture
async def shop(served: Served, clock: Clock) -> AsyncIterator[Shop]:
    async with opened(served, clock) as opened_shop:
        yield opened_shop


@pytest_asyncio.fixture
async def pulling(served: Served, clock: Clock) -> AsyncIterator[Shop]:
    """A shop that gets its messages in the responses, and has no address for others."""
    async with opened(served, clock, reply="response", callback_url=None) as opened_shop:
        yield opened_shop


# --- out by callback -----------------------------------------------------------------------------


async def test_a_question_is_accepted_and_its_answer_delivered_signed(shop: Shop) -> None:
    await shop.says(QUESTION)
    [message] = shop.receiver.requests
    assert set(message) == FIELDS
    assert (message["type"], message["conversation"]) == ("message", "chat-1")
    assert (message["text"], message["choices"]) == (REFUND, [])
    assert [citation["id"] for citation in message["citations"]] == ["entry-2"]
    assert shop.receiver.webhook_ids == [message["message_id"]]


async def test_choices_are_delivered_and_chosen_in_words(shop: Shop) -> None:
    await shop.says(DOUBTFUL)
    choices = shop.receiver.requests[0]["choices"]
    assert [set(choice) for choice in choices] == [{"id", "label"}] * len(choices)
    await shop.says(choices[0]["label"])
    assert shop.got()[-1] == ("message", ENTRIES[choices[0]["label"]])


async def test_handoff_reply_handback_and_resolution_are_delivered(shop: Shop) -> None:
    await shop.says("I want to talk to a human, please.")
    one = f"/api/v1/conversations/{await shop.id()}"
    await shop.bot.post(f"{one}/reply", {"agent": "ann", "text": "Ann here."})
    await shop.bot.post(f"{one}/reply", {"agent": "ann", "text": "tricky", "internal": True})
    await shop.bot.post(f"{one}/handback", {"agent": "ann"})
    await shop.bot.quiet()
    await shop.says(QUESTION)
    await shop.bot.post(f"{one}/resolve", {"agent": "ann"})
    await shop.bot.quiet()
    kinds = [kind for kind, _ in shop.got()]
    assert kinds == ["handoff", "message", "handback", "message", "resolved"]
    assert [text for kind, text in shop.got() if kind == "message"] == ["Ann here.", REFUND]
    assert {message["conversation"] for message in shop.receiver.requests} == {"chat-1"}


async def test_conversations_are_kept_apart(shop: Shop) -> None:
    await shop.says("转人工", "chat-1")
    await shop.says(QUESTION, "chat-2")
    told = [(message["conversation"], message["type"]) for message in shop.receiver.requests]
    assert told == [("chat-1", "handoff"), ("chat-2", "message")]


async def test_an_agent_in_the_shops_system_silences_the_bot(shop: Shop) -> None:
    await shop.says(QUESTION)
    ann = {"id": "7", "name": "Ann", "role": "agent"}
    await shop.says("I take this one.", sender=ann)
    await shop.says("How do I return an item?")
    assert shop.got() == [("message", REFUND)]
    _, body = await shop.bot.get(f"/api/v1/conversations/{await shop.id()}")
    assert (body["data"]["state"], body["data"]["agent"]) == ("agent", "Ann")
    assert [one["role"] for one in body["data"]["transcript"]][2] == "agent"


async def test_what_the_receiver_fails_to_take_comes_later_once_and_in_order(shop: Shop) -> None:
    shop.receiver.answers = [Answer(500), Answer(503)]
    await shop.says(QUESTION)
    await shop.says("运费是多少")
    assert shop.got() == []
    async with asyncio.timeout(60):
        while len(shop.got()) < 2:
            shop.clock.advance(minutes=11)
            await shop.bot.quiet()
    assert shop.got() == [("message", REFUND), ("message", ENTRIES["运费是多少"])]
    first, second = shop.receiver.kept
    assert shop.receiver.webhook_ids == [first, first, first, second]


async def test_what_the_receiver_refuses_holds_nothing_up(shop: Shop) -> None:
    shop.receiver.answers = [Answer(400)]
    await shop.says(QUESTION)
    await shop.says("运费是多少")
    assert shop.got() == [("message", ENTRIES["运费是多少"])]


async def test_a_message_that_waits_is_delivered_after_a_restart(
    served: Served, clock: Clock
) -> None:
    async with WebhookReceiver(SECRET) as receiver:
        section = {"platform": "webhook", "secret": SECRET, "callback_url": receiver.url}
        receiver.answers = [Answer(500)]
        async with served(clock=clock, sections={"shop": section}) as bot:
            await Shop(bot, receiver, clock).says(QUESTION)
            assert not receiver.kept
        clock.advance(minutes=11)
        async with served(clock=clock, sections={"shop": section}) as bot:
            await bot.quiet()
            assert [message["text"] for message in receiver.kept.values()] == [REFUND]


# --- in ------------------------------------------------------------------------------------------


async def test_a_repeated_request_gets_the_same_success_and_is_processed_once(shop: Shop) -> None:
    body = shop.body(QUESTION)
    answers = [await shop.post(body, "hook-1") for _ in range(3)]
    answers += await asyncio.gather(*(shop.post(body, "hook-1") for _ in range(5)))
    assert answers == [(202, {"accepted": True})] * 8
    await shop.bot.quiet()
    assert shop.got() == [("message", REFUND)]
    assert await shop.bot.count(tables.inbox) == 1


async def test_requests_that_come_at_once_are_stored_once_each(shop: Shop) -> None:
    bodies = [shop.body(QUESTION, chat=f"chat-{number}") for number in range(10)]
    answers = await asyncio.gather(
        *(shop.post(body, f"hook-{n}") for body in bodies * 2 for n in [bodies.index(body)])
    )
    assert {status for status, _ in answers} == {202}
    await shop.bot.quiet()
    assert sorted(message["conversation"] for message in shop.receiver.requests) == sorted(
        f"chat-{number}" for number in range(10)
    )


async def test_what_is_not_signed_by_the_shop_is_refused_and_not_stored(shop: Shop) -> None:
    body = shop.body(QUESTION)
    answers = [
        await shop.post(body, secret=OTHER_SECRET),
        await shop.post(body, webhook_signature=""),
        await shop.post(body, webhook_signature="v1,AAAA"),
        await shop.post(body, webhook_signature="ü"),
        await shop.post(body, webhook_timestamp="0"),
        await shop.post(body, webhook_timestamp="soon"),
        await shop.post(body, **{"webhook-id": "another"}),
        await shop.post(body, at=datetime.now(UTC) - timedelta(minutes=6)),
        await shop.post(body, at=datetime.now(UTC) + timedelta(minutes=6)),
        await shop.bot.post("/webhooks/shop", data=body),
    ]
    assert [status for status, _ in answers] == [401] * len(answers)
    assert all(body["code"] == 401 and body["data"] is None for _, body in answers)
    assert set((await shop.bot.stored()).values()) == {0}


@pytest.mark.parametrize(("seconds", "lines"), [(3600.0, 1), (0.0, 2)])
async def test_the_log_says_why_a_request_is_refused_but_not_of_each(
    shop: Shop,
    seconds: float,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(webhooks, "REFUSAL_SECONDS", seconds)
    for _ in range(2):
        await shop.post(shop.body(QUESTION), secret=OTHER_SECRET)
        await shop.bot.post("/webhooks/nobody")
    found = [one.getMessage() for one in caplog.records if one.name == webhooks.__name__]
    assert len(found) == lines
    assert found[0].startswith("request refused with 401: channel shop: ")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"text": ' + b"[" * 50_000, 400),
        (b'{"conversation": "c", "message_id": "m", "sender": {"id": "1"}}', 400),
        (b'{"conversation": 7, "message_id": "m", "text": "a", "sender": {"id": "1"}}', 400),
        (json.dumps({"text": "a" * 262_144}).encode(), 413),
    ],
    ids=["empty", "cut", "list", "deep", "missing", "type", "long"],
)
async def test_what_is_malformed_or_too_long_is_refused_and_not_stored(
    shop: Shop, body: bytes, status: int
) -> None:
    answer = await shop.post(body)
    assert (answer[0], answer[1]["code"], answer[1]["data"]) == (status, status, None)
    assert set((await shop.bot.stored()).values()) == {0}


async def test_every_field_that_is_wrong_is_refused(shop: Shop) -> None:
    good = json.loads(shop.body(QUESTION))
    wrong: list[dict[str, Any]] = [
        {"sender": {"id": "1", "role": "boss"}},
        {"sender": "customer-1"},
        {"conversation": ""},
        {"message_id": "m" * 256},
        {"sent_at": "yesterday"},
        {"attachments": [{"media_type": "image/png"}]},
        {"text": None},
    ]
    for fields in wrong:
        status, body = await shop.post(json.dumps(good | fields).encode())
        assert status == 400, fields
        assert next(iter(fields)) in body["msg"]
    assert set((await shop.bot.stored()).values()) == {0}


async def test_attachments_and_unknown_fields_are_taken(shop: Shop) -> None:
    file = {"url": "https://shop.example/a.png", "media_type": "image/png", "name": "a.png"}
    await shop.says(QUESTION, attachments=[file], sent_at="2026-01-05T09:00:00+08:00", mood="good")
    assert shop.got() == [("message", REFUND)]


async def test_only_a_post_is_answered(shop: Shop) -> None:
    status, body = await shop.bot.get("/webhooks/shop")
    assert (status, body["data"]) == (405, None)


async def test_what_cannot_be_stored_is_not_acknowledged_and_taken_later(
    served: Served, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite waits so long for a lock; five seconds would only be waited for here.
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_SECONDS", 0.1)
    async with opened(served, clock) as shop:
        body = shop.body(QUESTION)
        with closing(sqlite3.connect(shop.bot.data_dir / "kfbot.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            status, answer = await shop.post(body, "hook-1")
            assert (status, answer["code"], answer["data"]) == (503, 503, None)
            assert answer["msg"] == "nothing can be stored now: send it again"
            other.rollback()
        assert set((await shop.bot.stored()).values()) == {0}
        assert (await shop.post(body, "hook-1"))[0] == 202
        await shop.bot.quiet()
        assert shop.got() == [("message", REFUND)]


# --- out in the response -------------------------------------------------------------------------


async def test_the_response_holds_what_the_bot_says(pulling: Shop) -> None:
    [message] = await pulling.asks(QUESTION)
    assert set(message) == FIELDS
    assert (message["type"], message["text"]) == ("message", REFUND)
    [message] = await pulling.asks("转人工")
    assert message["type"] == "handoff"
    assert await pulling.bot.count(tables.outbox) == 0


async def test_a_repeated_request_gets_the_same_messages(pulling: Shop) -> None:
    body = pulling.body(QUESTION)
    answers = [await pulling.post(body, "hook-1") for _ in range(2)]
    answers += await asyncio.gather(*(pulling.post(body, "hook-1") for _ in range(3)))
    assert all(answer == answers[0] for answer in answers)
    assert await pulling.bot.count(tables.turn) == 1
    await pulling.asks("运费是多少")
    assert await pulling.post(body, "hook-1") == answers[0]


async def test_an_agents_words_come_once_with_the_next_response(pulling: Shop) -> None:
    await pulling.asks("转人工")
    one = f"/api/v1/conversations/{await pulling.id()}"
    await pulling.bot.post(f"{one}/reply", {"agent": "ann", "text": "Ann here."})
    await pulling.bot.post(f"{one}/reply", {"agent": "ann", "text": "tricky", "internal": True})
    [words] = await pulling.asks("hello?", "hook-1")
    assert (words["type"], words["text"]) == ("message", "Ann here.")
    assert await pulling.asks("still there?") == []
    await pulling.bot.post(f"{one}/handback", {"agent": "ann"})
    told = await pulling.asks(QUESTION)
    assert [message["type"] for message in told] == ["handback", "message"]
    assert told[1]["text"] == REFUND
    assert (await pulling.post(pulling.body("hello?"), "hook-1"))[1]["messages"] == [words]


async def test_every_request_gets_its_own_answer_whoever_is_first(pulling: Shop) -> None:
    texts = [QUESTION, "运费是多少", "How do I return an item?"]
    for _ in range(3):
        answers = await asyncio.gather(*(pulling.asks(text) for text in texts))
        said = [[message["text"] for message in messages] for messages in answers]
        assert said == [[ENTRIES[text]] for text in texts]


async def test_an_agent_gets_no_echo(pulling: Shop) -> None:
    ann = {"id": "7", "name": "Ann", "role": "agent"}
    await pulling.asks(QUESTION)
    status, body = await pulling.post(pulling.body("I take this one.", sender=ann))
    assert (status, body) == (200, {"messages": []})
    assert await pulling.asks("hello?") == []


async def test_an_answer_that_takes_long_is_got_by_asking_again(
    pulling: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = pulling.body("and another thing")  # Unfinished: the bot waits for more.
    with monkeypatch.context() as patient:
        patient.setattr(webhooks, "TURN_TIMEOUT_SECONDS", 0.05)
        status, answer = await pulling.post(body, "hook-1")
    assert (status, answer["code"], answer["data"]) == (504, 504, None)
    pulling.clock.advance(seconds=3)
    status, answer = await pulling.post(body, "hook-1")
    assert (status, [message["type"] for message in answer["messages"]]) == (200, ["handoff"])
    assert await pulling.bot.count(tables.turn) == 1


async def test_with_an_address_an_agents_words_are_delivered_at_once(
    served: Served, clock: Clock
) -> None:
    async with opened(served, clock, reply="response") as shop:
        [message] = await shop.asks("转人工")
        assert message["type"] == "handoff"
        one = f"/api/v1/conversations/{await shop.id()}"
        await shop.bot.post(f"{one}/reply", {"agent": "ann", "text": "Ann here."})
        await shop.bot.quiet()
        assert shop.got() == [("message", "Ann here.")]
        await shop.bot.post(f"{one}/handback", {"agent": "ann"})
        assert [one["text"] for one in await shop.asks(QUESTION)] == [REFUND]
        await shop.bot.quiet()
        assert [kind for kind, _ in shop.got()] == ["message", "handback"]
