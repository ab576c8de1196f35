"""One customer's data: shown whole, erased without a trace, others' left alone; on both."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from kfbot.adapter import Capabilities
from kfbot.agents import Agent
from kfbot.errors import StoreUnavailable
from kfbot.event_webhook_settings import EventWebhookSettings
from kfbot.messages import Attachment, ConversationId, Sender
from kfbot.privacy import Erasure
from kfbot.settings import Settings
from kfbot.store import customers, erasure, tables
from kfbot.store.audit import AuditStore
from kfbot.store.conversation_events import _hand_out
from kfbot.store.copies import backups_with
from kfbot.store.engine import Database
from kfbot.store.erasure import take_away
from kfbot.store.integrity import find_broken_promises
from kfbot.store.messages import MessageStore
from kfbot.store.proposals import Draft
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import ENTRIES, Stage, staged
from tests.integration.stores import count, message
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

pytestmark = pytest.mark.asyncio
SECRET = "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0ZXN0cw=="
ANN = Sender("customer-1", "customer", "Xylophanna")
ANNA = Agent(name="anna", display_name="Anna", role="admin")
#: Stand in what the customer wrote, or in what was made of it, and nowhere else.
PLANTED = ("xylophanna", "quokkaquestion", "wombatfile", "platypusprivate", "numbatnote", "echidna")
#: What holds nothing of a customer.
KEPT = {"audit", "knowledge_base", "calibration", "secret", "channel", "agent"}


@pytest.fixture
def database_url(url: str) -> str:
    return url


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(capabilities=Capabilities(buttons=True, text_length=4000))


@pytest_asyncio.fixture
async def crm() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(SECRET) as receiver:
        yield receiver


@pytest_asyncio.fixture
async def stage(
    database: Database, clock: Clock, channel: FakeAdapter, crm: WebhookReceiver, tmp_path: Path
) -> AsyncIterator[Stage]:
    """A bot that tells a CRM of everything."""
    settings = Settings(
        data_dir=tmp_path,
        knowledge={"fake": {"sources": ["."]}},
        event_webhooks={"crm": {"url": crm.url, "secret": SECRET}},
    )
    async with staged(database, clock, channel, settings) as opened:
        yield opened


async def live_through(stage: Stage) -> None:
    """Everything that leaves something of a customer: words, files, a press, a case, a lesson."""
    ann: dict[str, Any] = {"sender": ANN}
    file = Attachment(
        url="https://files.example/wombatfile", media_type="image/png", name="wombatfile.png"
    )
    await stage.customer_says("How do I return an item?", attachments=(file,), **ann)
    await stage.customer_presses("Helpful")
    await stage.customer_says("quokkaquestion: why is my platypusprivate so tall?", **ann)
    number = (await stage.conversation()).id
    handoff = stage.application.handoff
    await handoff.claim(number, "anna")
    await handoff.reply(number, "anna", "numbatnote about her", internal=True)
    await handoff.reply(
        number, "anna", "Dear Xylophanna, echidna says it grows for ever and a day."
    )
    await handoff.resolve(number, "anna")
    await stage.sent_out()


async def erased(stage: Stage, user: str = "customer-1", **given: Any) -> Erasure:
    done = await stage.application.privacy.erase("shop", user, actor="command", **given)
    assert done is not None
    # That it was erased is told by its id.
    async with asyncio.timeout(60):
        events = stage.application.conversation_events
        while any(one.type == "customer.erased" for one in await events.list()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return done


async def dumped(database: Database) -> str:
    """Every row of every table, as text."""

    def read(connection: sa.Connection) -> str:
        rows = [
            f"{table.name}: {row!r}"
            for table in tables.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
        return "\n".join(rows)

    return await database.read(read)


def raw(folder: Path) -> bytes:
    """What stands in the database's files, in all encodings that text is kept in."""
    return b"".join(file.read_bytes() for file in folder.glob("*.sqlite3*"))


def bare(database: Database, table: sa.Table) -> int:
    """Of the newest conversation SQLite keeps the number, lest another one gets it."""
    return int(database.is_sqlite and table is tables.conversation)


def found_in(text: str) -> list[str]:
    return [word for word in (*PLANTED, "customer-1", "chat-1") if word in text.lower()]


async def test_of_an_erased_customer_nothing_is_left_in_any_row_or_file(
    stage: Stage, database: Database, tmp_path: Path
) -> None:
    await live_through(stage)
    assert found_in(await dumped(database)) == [*PLANTED, "customer-1", "chat-1"]
    done = await erased(stage)
    assert (done.conversations, done.redacted, done.not_compacted) == (1, 0, "")
    assert not done.wrote_meanwhile
    assert found_in(await dumped(database)) == []
    async with asyncio.timeout(60):
        while found_in(raw(tmp_path).decode("latin-1")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for table in tables.metadata.sorted_tables:
        if table.name not in KEPT:
            assert await count(database, table) == bare(database, table), table.name


async def test_words_that_were_deleted_long_ago_are_gone_from_the_file_too(
    stage: Stage, database: Database, tmp_path: Path
) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's files are its own")
    secret = "x" * 3000 + "bandicoot"

    def forgetful(connection: sa.Connection) -> None:
        # As earlier versions deleted.
        connection.exec_driver_sql("PRAGMA secure_delete=OFF").close()
        connection.execute(tables.secret.insert().values(name="old", value=secret))
        connection.execute(tables.secret.delete().where(tables.secret.c.name == "old"))

    await stage.customer_says("How do I return an item?", sender=ANN)
    await database.write(forgetful)
    assert b"bandicoot" in raw(tmp_path)
    await erased(stage)
    assert b"bandicoot" not in raw(tmp_path)


async def test_what_is_deleted_is_overwritten_without_waiting_for_an_erasure(
    database: Database, tmp_path: Path
) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's files are its own")
    kept = tables.secret.insert().values(name="new", value="x" * 3000 + "bandicoot")
    await database.write(lambda c: c.execute(kept).rowcount)
    await database.write(lambda c: c.execute(tables.secret.delete()).rowcount)
    await database.compact(whole=False)
    assert b"bandicoot" not in raw(tmp_path)


async def test_an_export_has_everything_that_was_said_and_done(stage: Stage, clock: Clock) -> None:
    await live_through(stage)
    found = await stage.application.privacy.export("shop", "customer-1", actor="token")
    assert found is not None
    json.dumps(found)
    assert found["customer"] == {
        "channel": "shop",
        "id": "customer-1",
        "name": "Xylophanna",
        "known_since": found["customer"]["known_since"],
    }
    [conversation] = found["conversations"]
    texts = [message["text"] for message in conversation["messages"]]
    assert "How do I return an item?" in texts
    assert "numbatnote about her" in texts
    answer = next(one for one in conversation["messages"] if one["role"] == "bot")
    assert answer["extras"]["citations"]
    assert conversation["messages"][0]["extras"]["attachments"][0]["name"] == "wombatfile.png"
    assert [one["decision"] for one in conversation["turns"]] == ["answer", "handoff"]
    assert conversation["cases"][0]["question"].startswith("quokkaquestion")
    pressed = [one["action"] for one in conversation["buttons"] if one["pressed_at"]]
    assert pressed == ["helpful"]
    told = {one["type"] for one in conversation["told_to_others"]}
    assert told >= {"conversation.handed_off", "conversation.resolved", "feedback.given"}
    assert {one["webhook"] for one in conversation["told_to_others"]} == {"crm"}
    [lesson] = found["proposals"]
    assert lesson["answer"].endswith("echidna says it grows for ever and a day.")
    assert (
        "[event_webhooks.crm]: a system that was told of conversations"
        in (found["copies"]["elsewhere"])
    )


async def test_who_is_unknown_is_neither_shown_nor_erased(stage: Stage) -> None:
    privacy = stage.application.privacy
    assert await privacy.export("shop", "nobody", actor="token") is None
    assert await privacy.erase("shop", "nobody", actor="token") is None


async def test_exports_and_erasures_are_noted_without_names_or_words(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await live_through(stage)
    await stage.application.privacy.export("shop", "customer-1", actor="token")
    await erased(stage)
    deeds = await AuditStore(database, clock).list()
    noted = [(deed.actor, deed.action) for deed in deeds][:2]
    assert noted == [("command", "customer_erased"), ("token", "customer_exported")]
    assert deeds[0].target == deeds[1].target
    assert found_in(repr(deeds[:2])) == []
    assert deeds[0].details["rows"]["message"] > 3


async def test_what_is_written_after_an_erasure_is_a_new_conversation(
    stage: Stage, database: Database
) -> None:
    await stage.customer_says("How do I return an item?", sender=ANN)
    await erased(stage)
    [answer] = await stage.customer_says("How do I return an item?", sender=ANN)
    assert answer.text.startswith("Open the order")
    assert await count(database, tables.turn) == 1
    assert await count(database, tables.conversation) == 1 + bare(database, tables.conversation)


async def test_a_turn_that_runs_while_its_customer_is_erased_says_and_keeps_nothing(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    search = stage.knowledge.search

    async def slow(*given: Any, **further: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await search(*given, **further)

    monkeypatch.setattr(stage.knowledge, "search", slow)
    await stage.accept(stage.message("How do I return an item?", sender=ANN))
    stage.clock.advance(seconds=3)
    stage.application.inbox.wake()
    async with asyncio.timeout(60):
        await asked.wait()
    await erased(stage)
    go_on.set()
    await stage.sent_out()
    assert stage.channel.sent == []
    assert await count(database, tables.message) == await count(database, tables.customer) == 0
    assert await find_broken_promises(database) == []


@pytest.mark.parametrize("status", [200, 410])
async def test_event_webhooks_are_told_of_an_erasure_by_ids_alone(
    stage: Stage, database: Database, crm: WebhookReceiver, clock: Clock, status: int
) -> None:
    await stage.customer_says("How do I return an item?", sender=ANN)
    number = (await stage.conversation()).id
    crm.answers = [Answer(status=status)]
    await erased(stage)
    [told] = crm.requests
    assert told == {
        "type": "customer.erased",
        "timestamp": told["timestamp"],
        "data": {
            "customer": {"channel": "shop", "id": "customer-1"},
            "conversations": [number],
            "redacted": [],
        },
    }
    assert await count(database, tables.event_delivery) == 0


async def test_event_webhooks_are_told_once_of_an_erasure_that_was_killed_at_its_end(
    stage: Stage, crm: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.customer_says("How do I return an item?", sender=ANN)

    def killed(*_: object) -> None:
        raise StoreUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(customers, "remove_customers", killed)
        with pytest.raises(StoreUnavailable):
            await erased(stage)
    await erased(stage)
    assert [told["type"] for told in crm.requests] == ["customer.erased"]


async def test_a_customer_is_found_in_what_was_not_yet_in_the_file_of_a_copy(
    tmp_path: Path,
) -> None:
    live, folder = tmp_path / "live.sqlite3", tmp_path / "backups"
    folder.mkdir()
    copy = folder / "live-replaced-1.sqlite3"
    with closing(sqlite3.connect(live)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE customer (channel, platform_user)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("INSERT INTO customer VALUES ('shop', 'customer-1')")
        connection.commit()
        for ending in ("", "-wal"):
            copyfile(f"{live}{ending}", f"{copy}{ending}")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for user, holds in (("customer-1", True), ("customer-2", False)):
        [found] = backups_with(folder, "shop", user)
        assert (found.file, found.holds) == (copy, holds)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


async def test_an_erasure_that_was_killed_is_finished_by_the_next(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live_through(stage)
    steps = 0
    removing = erasure._removing

    def killed_at(limit: int) -> Any:
        def made(*given: Any) -> Any:
            operation = removing(*given)

            def counted(connection: sa.Connection) -> int:
                nonlocal steps
                steps += 1
                if steps > limit:
                    raise StoreUnavailable("killed")
                return operation(connection)

            return counted

        return made

    for limit in (0, 3, 6, 9):
        steps = 0
        monkeypatch.setattr(erasure, "_removing", killed_at(limit))
        with pytest.raises(StoreUnavailable):
            await erased(stage)
        assert await find_broken_promises(database) == []
    monkeypatch.setattr(erasure, "_removing", removing)
    await erased(stage)
    assert found_in(await dumped(database)) == []


async def test_what_a_killed_erasure_left_goes_by_itself(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await live_through(stage)
    number = (await stage.conversation()).id
    await database.write(lambda c: take_away(c, number, clock()), lanes=(number,))
    await stage.application.privacy.keep_up()
    assert await count(database, tables.message) == 0
    assert await count(database, tables.conversation) == bare(database, tables.conversation)


async def test_an_approved_entry_stays_is_named_and_goes_when_that_is_wanted(
    stage: Stage, database: Database
) -> None:
    for user, wanted in (("customer-1", False), ("customer-2", True)):
        chat = ConversationId("shop", f"chat-of-{user}")
        await stage.customer_says("Where is the quokka?", chat=chat, sender=Sender(user))
        number = (await stage.conversation(chat)).id
        handoff = stage.application.handoff
        await handoff.reply(number, "anna", "The quokka lives on Rottnest island, in the west.")
        await handoff.resolve(number, "anna")
        teaching = stage.application.teaching
        [proposal] = await teaching.proposals.page(ANNA, "open")
        draft = Draft(question="Where?", answer="In the west.", knowledge_base="fake")
        await teaching.approve(ANNA, proposal, draft)
        done = await erased(stage, user, entries=wanted)
        assert [one.question for one in done.entries] == ["Where?"]
        assert bool(done.entries_removed) is wanted
        # Indexes pass over what was removed; only those that are built anew hold nothing of it.
        assert stage.knowledge.refreshed >= 2 * wanted
        held = [entry.id for entry in await stage.knowledge.added("fake")]
        assert (f"approved-{proposal.id}" in held) is not wanted
    [left] = await stage.application.teaching.proposals.page(ANNA, "approved")
    assert (left.case_id, left.conversation_id) == (None, None)


async def test_an_event_that_meets_its_conversation_being_taken_away_begins_a_new_one(
    stage: Stage, database: Database, clock: Clock
) -> None:
    """A replica has read the address, and waits for the lane that the erasure has locked."""
    if database.is_sqlite:
        pytest.skip("there is one writer only")
    await stage.customer_says("How do I return an item?", sender=ANN)
    number = (await stage.conversation()).id
    lane = sa.select(tables.lane).where(tables.lane.c.conversation_id == number).with_for_update()
    # It knows no lanes yet, and so does not lock this one before it reads the address.
    replica = MessageStore(database, clock)
    event = stage.message("怎么开发票", sender=ANN)
    engine = create_async_engine(database.url)
    async with engine.begin() as other:
        await other.execute(lane)
        accepting = asyncio.create_task(replica.accept(event))
        await until_one_waits(database)
        await other.run_sync(take_away, number, clock())
    await engine.dispose()
    accepted = await accepting
    assert accepted.conversation_id != number
    await stage.settle(accepted)
    assert stage.channel.sent[-1].text == ENTRIES["怎么开发票"]


async def test_what_is_being_told_while_its_conversation_is_erased_goes_too(
    database: Database, clock: Clock
) -> None:
    """A replica makes deliveries of what happened, and has not committed them yet."""
    if database.is_sqlite:
        pytest.skip("there is one writer only")
    number = (await MessageStore(database, clock).accept(message(clock, 1))).conversation_id
    happened = tables.conversation_event.insert().values(
        conversation_id=number, uid="evt_1", type="conversation.handed_off",
        data={"question": "quokkaquestion"}, happened_at=clock(),
    )  # fmt: skip
    await database.write(lambda c: c.execute(happened).rowcount)
    crm = EventWebhookSettings.model_validate({"url": "https://crm.example", "secret": SECRET})

    async def erase() -> None:
        await database.write(lambda c: take_away(c, number, clock()), lanes=(number,))
        await erasure.remove_rest(database, [number], pause_seconds=0)

    engine = create_async_engine(database.url)
    async with engine.begin() as other:
        await other.run_sync(_hand_out, {"crm": crm}, clock())
        erasing = asyncio.create_task(erase())
        await until_one_waits(database)
    await engine.dispose()
    await erasing
    assert await count(database, tables.event_delivery) == 0


async def until_one_waits(database: Database) -> None:
    waits = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(60):
        while not await database.read(lambda c: c.execute(waits).scalar_one()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
