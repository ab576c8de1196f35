"""The schema of a database: made, brought up to date under its rows, refused if newer; on both."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from kfbot.errors import StoreUnavailable
from kfbot.messages import OutboundMessage
from kfbot.store import tables
from kfbot.store.engine import MIGRATIONS, Database, Operation
from kfbot.store.events import encode_event, encode_message
from kfbot.store.messages import MessageStore
from kfbot.store.schema import find_schema
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import staged
from tests.integration.stores import CHAT, message, states
from tests.postgres import new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    with new_database(request.getfixturevalue("server")) as made:
        yield made


def on(url: str, work: Operation[Any]) -> Any:
    """Do something on a connection and commit it, whatever the schema and however long it takes."""
    results: list[Any] = []

    async def run() -> None:
        async with Database(url) as database:
            await database.migrate(lambda connection: results.append(work(connection)))

    asyncio.run(run())
    return results[0]


def alembic(url: str, what: Callable[..., None], *arguments: str) -> None:
    """Run an alembic command on a database."""

    def work(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        what(config, *arguments)

    on(url, work)


def upgrade(url: str) -> None:
    async def run() -> None:
        async with Database(url) as database:
            await database.upgrade()

    asyncio.run(run())


def table_names(url: str) -> set[str]:
    names: set[str] = on(url, lambda connection: set(sa.inspect(connection).get_table_names()))
    return names - {"alembic_version"}


def revision(url: str) -> str | None:
    found: str | None = on(
        url,
        lambda connection: connection.scalar(sa.text("SELECT version_num FROM alembic_version")),
    )
    return found


def test_an_empty_database_gets_every_table(url: str) -> None:
    upgrade(url)
    assert table_names(url) == set(tables.metadata.tables)


def test_upgrading_again_changes_nothing(url: str) -> None:
    upgrade(url)
    at = revision(url)
    upgrade(url)
    assert revision(url) == at


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(url: str) -> None:
    upgrade(url)
    alembic(url, command.check)


def test_every_migration_can_be_taken_back_and_made_again(url: str) -> None:
    upgrade(url)
    alembic(url, command.downgrade, "base")
    assert table_names(url) == set()
    upgrade(url)
    assert table_names(url) == set(tables.metadata.tables)
    alembic(url, command.check)


def test_a_database_of_a_newer_kfbot_is_refused_and_left_as_it_is(url: str) -> None:
    upgrade(url)
    newer = sa.text("UPDATE alembic_version SET version_num = '9999'")
    on(url, lambda connection: connection.execute(newer))
    with pytest.raises(StoreUnavailable) as caught:
        upgrade(url)
    assert str(caught.value) == (
        "database schema: Can't locate revision identified by '9999'; is it of a newer kfbot?"
    )
    assert revision(url) == "9999"
    assert asyncio.run(find_schema(url)).state == "newer"


def test_a_migration_that_breaks_off_leaves_nothing_behind(url: str) -> None:
    # In the way of one of the last tables.
    on(url, lambda connection: connection.execute(sa.text("CREATE TABLE knowledge_chunk (x TEXT)")))
    with pytest.raises(StoreUnavailable, match="already exists"):
        upgrade(url)
    assert table_names(url) == {"knowledge_chunk"}


# Rows of an earlier version


def insert(connection: sa.Connection, table: str, **values: object) -> Any:
    """Write a row with these columns only; returns its first one's value."""
    known = tables.metadata.tables[table]
    columns = [sa.column(name, known.c[name].type) for name in values]
    first = known.primary_key.columns[0].name
    statement = sa.table(table, *columns).insert().values(values)
    return connection.execute(statement.returning(sa.column(first))).scalar_one()


def write_first_rows(connection: sa.Connection, clock: Clock) -> None:
    """What version 0001 wrote: an answer on its way to the platform, and another question."""
    now = clock()
    customer = insert(
        connection, "customer", channel="shop", platform_user="customer-1", display_name="Ann",
        created_at=now,
    )  # fmt: skip
    number = insert(
        connection, "conversation", state="bot", ownership_epoch=0, customer_id=customer,
        created_at=now, updated_at=now,
    )  # fmt: skip
    insert(
        connection, "conversation_alias", channel="shop", chat="chat-1", thread="", member="",
        conversation_id=number, current=True,
    )  # fmt: skip
    event = message(clock, 1, text="When will my refund arrive?")
    insert(
        connection, "inbox", channel="shop", event_id=event.event_id, conversation_id=number,
        payload=encode_event(event), state="new", attempts=0, received_at=now,
    )  # fmt: skip
    said = {"conversation_id": number, "internal": False, "extras": {}, "created_at": now}
    for role, text in (("bot", "On its way."), ("customer", event.text)):
        written = insert(
            connection, "message", role=role, sender_name="", kind="message", text=text,
            event_id=event.event_id, **said,
        )  # fmt: skip
        if role == "bot":
            sending = OutboundMessage(conversation=CHAT, id="msg_1", text=text)
            insert(
                connection, "outbox", conversation_id=number, message_id=written,
                idempotency_key=sending.id, payload=encode_message(sending), ownership_epoch=0,
                state="sending", attempts=0, created_at=now,
            )  # fmt: skip
    insert(
        connection, "lane", conversation_id=number, ready_at=now, owner="a process of 0001",
        lease_until=now + timedelta(seconds=30), epoch=7,
    )  # fmt: skip
    insert(
        connection, "knowledge_base", name="shop", generation=3, embedding_key="a model",
        unreadable=[],
    )  # fmt: skip
    document = insert(
        connection, "knowledge_document", knowledge_base="shop", document_id="refunds", kind="faq",
        source="file", path="faq.csv", content_hash="1", title="", url="", answer="Soon.",
    )  # fmt: skip
    insert(
        connection, "knowledge_chunk", id="chunk 1", document_pk=document, position=0, heading="",
        text="When will my refund arrive?", vector=b"12", terms={"refund": 1},
    )  # fmt: skip


def rows(url: str) -> dict[str, int]:
    """How many rows each table of 0001 with rows has."""

    def look(connection: sa.Connection) -> dict[str, int]:
        return {
            name: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(name))) or 0
            for name in (
                "customer", "conversation", "conversation_alias", "inbox", "message", "outbox",
                "lane", "knowledge_base", "knowledge_document", "knowledge_chunk",
            )
        }  # fmt: skip

    found: dict[str, int] = on(url, look)
    return found


async def sent_by_this_version(url: str, clock: Clock) -> list[tuple[str, str]]:
    """Let the lease of the old process end, and the bot work; what it sends."""
    channel = FakeAdapter()
    clock.advance(minutes=1)
    async with Database(url) as database:
        assert await MessageStore(database, clock).free_lost("a new process") == 1
        async with staged(database, clock, channel) as stage:
            await stage.sent_out()
        rows = await states(database, tables.inbox), await states(database, tables.outbox)
        assert rows == (["done"], ["sent", "sent"])
    return [(one.id, one.text) for one in channel.sent]


@pytest.mark.parametrize("rows_come", ["before the upgrade", "after it, from an old process"])
def test_what_an_earlier_version_wrote_is_kept_and_what_it_was_sending_is_sent(
    url: str, clock: Clock, rows_come: str
) -> None:
    alembic(url, command.upgrade, "0001")
    if rows_come == "after it, from an old process":
        upgrade(url)
    on(url, lambda connection: write_first_rows(connection, clock))
    before = rows(url)
    upgrade(url)
    assert rows(url) == before
    sent = asyncio.run(sent_by_this_version(url, clock))
    assert sent[0] == ("msg_1", "On its way.")
    assert [text for _, text in sent[1:]] == ["Within 2 business days."]


def test_taking_migrations_back_keeps_the_rows_too(url: str, clock: Clock) -> None:
    upgrade(url)
    on(url, lambda connection: write_first_rows(connection, clock))
    before = rows(url)
    alembic(url, command.downgrade, "0001")
    assert rows(url) == before
    upgrade(url)
    assert rows(url) == before
    assert len(asyncio.run(sent_by_this_version(url, clock))) == 2


# Processes


UPGRADES = """
import asyncio, sys
from kfbot.store.engine import Database
async def main():
    async with Database(sys.argv[1]) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        await database.upgrade()
asyncio.run(main())
"""


def test_processes_that_upgrade_an_empty_database_at_once_all_succeed(server: str) -> None:
    with new_database(server) as url, ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", UPGRADES, url],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]  # fmt: skip
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            _, complaint = process.communicate()
            assert (process.returncode, complaint) == (0, "")
        assert table_names(url) == set(tables.metadata.tables)
        alembic(url, command.check)


# Looking


def test_looking_at_a_schema_makes_no_database(tmp_path: Path) -> None:
    file = tmp_path / "none.sqlite3"
    schema = asyncio.run(find_schema(f"sqlite:///{file}"))
    assert (schema.state, schema.current) == ("new", None)
    assert not file.exists()


def test_the_state_of_a_schema_is_known(url: str) -> None:
    upgrade(url)
    assert asyncio.run(find_schema(url)).state == "current"


def test_there_is_one_history_with_one_head() -> None:
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1
