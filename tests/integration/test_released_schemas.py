"""Databases of every released schema, with rows in all tables: no upgrade loses any of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from kfbot.messages import ConversationId, MessageReceived, OutboundMessage, Sender
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import MIGRATIONS, Database
from kfbot.store.events import encode_event, encode_message
from kfbot.store.sign_ins import hash_of
from kfbot.testing import FakeAdapter
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.terms import counts
from knowledge.vectors import key_of
from tests.conftest import Clock
from tests.integration.conftest import Served, ServedBot
from tests.integration.test_knowledge_load import WordEmbedder
from tests.integration.test_migrations import alembic, on, upgrade
from tests.postgres import new_database
from tests.security.routes import DESK, ROUTES, Who

NOW = Clock().now
QUESTION = "When will my refund arrive?"
ANSWER = "Within 2 business days."
TOKEN = "the-session-of-the-first-agent"
#: The first row of a table has a value in every column, the second only where it must.
NUMBERS = (1, 2)
Rows = dict[str, list[dict[str, Any]]]


def _revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def _event(number: int) -> dict[str, Any]:
    chat = ConversationId("shop", f"chat {number}")
    return encode_event(
        MessageReceived(
            event_id=f"event_id {number}",
            conversation=chat,
            message_id=f"message_id {number}",
            sender=Sender(str(number)),
            sent_at=NOW,
            text=QUESTION,
        )
    )


def _sending(number: int) -> dict[str, Any]:
    chat = ConversationId("shop", f"chat {number}")
    key = f"idempotency_key {number}"
    return encode_message(OutboundMessage(conversation=chat, id=key, text="On its way."))


#: What the columns hold, by table and name or by name alone; each takes the number of the row.
MEANT: Mapping[str, Callable[[int], Any]] = {
    "channel": lambda number: "shop",
    "thread": lambda number: "",
    "member": lambda number: "",
    "expires_at": lambda number: NOW + timedelta(days=1),
    "knowledge_base": lambda number: "shop" if number == 1 else "office",
    "embedding_key": lambda number: key_of(WordEmbedder()),
    "reports": lambda number: [],
    "variants": lambda number: ["A variant"],
    "unreadable": lambda number: ["torn.pdf: damaged"],
    "channels": lambda number: ["shop"],
    "knowledge_bases": lambda number: ["shop"],
    "passages": lambda number: [],
    "platform_ids": lambda number: ["1"],
    "agent.active": lambda number: True,
    "agent.role": lambda number: "admin",
    "agent_session.token_hash": lambda number: hash_of(TOKEN if number == 1 else "another"),
    "case.summary": lambda number: {"en": "They wait for a refund."},
    "calibration.adjustments": lambda number: {},
    "calibration.source": lambda number: "operator",
    "conversation_alias.current": lambda number: True,
    "conversation.state": lambda number: "bot" if number == 1 else "waiting",
    "customer.platform_user": str,
    "event_delivery.body": lambda number: "{}",
    "inbox.payload": _event,
    "inbox.state": lambda number: "new",
    "job.id": str,
    "job.state": lambda number: "done",
    "knowledge_base.name": lambda number: "shop" if number == 1 else "office",
    "knowledge_chunk.asks": lambda number: None,
    "knowledge_chunk.terms": lambda number: dict(counts(QUESTION)),
    "knowledge_chunk.text": lambda number: QUESTION,
    "knowledge_chunk.vector": lambda number: (
        WordEmbedder().embed_passages([QUESTION])[0].astype("<f2").tobytes()
    ),
    "knowledge_document.answer": lambda number: ANSWER,
    "knowledge_document.fields": lambda number: {"product": "kettle"},
    "knowledge_document.kind": lambda number: "faq",
    "knowledge_document.since": lambda number: 1,
    "knowledge_document.until": lambda number: None,
    # That work is taken over from a process that is gone is another test's.
    "lane.owner": lambda number: None,
    "lane.lease_until": lambda number: None,
    "message.internal": lambda number: False,
    "message.kind": lambda number: "message",
    "message.role": lambda number: "customer",
    "outbox.payload": _sending,
    "outbox.replaces": lambda number: None,
    "outbox.state": lambda number: "new" if number == 1 else "dead",
    "pause.chat": lambda number: f"silent {number}",
    "proposal.state": lambda number: "open",
    "turn.data": lambda number: {"text": "", "context": "", "citations": [], "choices": []},
    "turn.decision": lambda number: "answer",
}
#: What every other column of a type holds.
BY_TYPE: Mapping[type, Callable[[str, int], Any]] = {
    bool: lambda name, number: number == 1,
    bytes: lambda name, number: f"{name} {number}".encode(),
    date: lambda name, number: NOW.date() - timedelta(days=number),
    datetime: lambda name, number: NOW - timedelta(minutes=number),
    object: lambda name, number: {name: number},
    float: lambda name, number: number / 4,
    int: lambda name, number: number,
    str: lambda name, number: f"{name} {number}",
}


def _value(column: sa.Column[Any], number: int, written: Mapping[str, Any]) -> Any:
    if column.foreign_keys:
        [key] = column.foreign_keys
        return written[key.column.table.name][number - 1][key.column.name]
    meant = MEANT.get(f"{column.table.name}.{column.name}") or MEANT.get(column.name)
    if meant is not None:
        return meant(number)
    return BY_TYPE[column.type.python_type](column.name, number)


def fill(connection: sa.Connection) -> None:
    """Write rows into every table that has none, whatever the schema."""
    found = sa.MetaData()
    # And what they refer to.
    found.reflect(
        connection, only=[name for name, rows in contents(connection).items() if not rows]
    )
    written: dict[str, list[Any]] = {}
    for table in found.sorted_tables:
        written[table.name] = rows = list(connection.execute(sa.select(table)).mappings())
        for number in NUMBERS[len(rows) :]:
            values = {
                column.name: _value(column, number, written)
                for column in table.c
                if column is not table.autoincrement_column and (number == 1 or not column.nullable)
            }
            rows.append(
                connection.execute(table.insert().values(values).returning(*table.c))
                .mappings()
                .one()
            )


def contents(connection: sa.Connection) -> Rows:
    """Every row of every table, as the driver gives it."""
    names = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
    return {
        name: [
            dict(row)
            for row in connection.execute(
                sa.select(sa.text("*")).select_from(sa.table(name))
            ).mappings()
        ]
        for name in sorted(names)
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database where `served` looks for it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kfbot.sqlite3'}"
        return
    with new_database(request.getfixturevalue("server")) as made:
        yield made


@pytest.mark.parametrize("revision", _revisions())
def test_every_row_of_a_released_schema_is_kept_and_served(
    url: str, revision: str, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    alembic(url, command.upgrade, revision)
    on(url, fill)
    before = on(url, contents)
    assert {len(rows) for rows in before.values()} == {len(NUMBERS)}
    upgrade(url)
    after = on(url, contents)
    for name, rows in before.items():
        assert [{column: row[column] for column in rows[0]} for row in after[name]] == rows
    # What the schema did not have yet holds something too.
    on(url, fill)
    asyncio.run(_all_is_served(url, served))
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_the_knowledge_of_the_first_schema_is_searched_before_it_is_loaded_again(
    url: str, tmp_path: Path
) -> None:
    async def found() -> str:
        intakes = {"shop": Intake((str(tmp_path),))}
        async with (
            Database(url) as database,
            Knowledge(intakes, KnowledgeStore(database), WordEmbedder(), tmp_path) as knowledge,
        ):
            return (await knowledge.search(QUESTION)).passages[0].text

    alembic(url, command.upgrade, _revisions()[0])
    on(url, fill)
    upgrade(url)
    assert asyncio.run(found()) == ANSWER


async def _all_is_served(url: str, served: Served) -> None:
    """What was on its way is sent, what waited is answered, and everything can be looked at."""
    channel, clock = FakeAdapter(), Clock()
    bases = {name: {"sources": ["."]} for name in ("shop", "office")}
    async with served(
        channels={"shop": channel},
        entries={QUESTION: ANSWER},
        clock=clock,
        knowledge=bases,
        database={"url": url},
    ) as bot:
        await bot.quiet()
        clock.advance(minutes=1)
        await bot.quiet()
        sent = {(one.conversation.chat, one.text) for one in channel.sent}
        assert sent >= {("chat 1", "On its way."), ("chat 1", ANSWER)}
        assert (await bot.ask(QUESTION, "another"))["text"] == ANSWER
        for row in ROUTES:
            if row.reads and not row.is_stream and row.who in (Who.TOKEN, *DESK):
                status, said = await _read(bot, row.path)
                assert status == 200, (row.path, said)


async def _read(bot: ServedBot, path: str) -> tuple[int, str]:
    number = "out-2" if "dead-letters" in path else 1
    async with bot.http.get(
        bot.url + path.format(id=number, kb="shop", channel="shop"),
        params={"q": QUESTION} if path.endswith("search") else None,
        headers={"Cookie": f"kfbot_desk={TOKEN}"},
    ) as response:
        return response.status, await response.text()
