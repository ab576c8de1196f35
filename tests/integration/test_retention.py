"""What is old enough goes, or is masked, and nothing else; on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.conversation import State, Turn
from kfbot.errors import SettingsError
from kfbot.messages import Attachment, ConversationId, Sender
from kfbot.privacy import Privacy
from kfbot.settings import Settings, load_settings
from kfbot.store import tables
from kfbot.store.audit import AuditStore
from kfbot.store.consent import Notice, with_notice
from kfbot.store.conversations import add_conversation
from kfbot.store.engine import Database
from kfbot.store.integrity import find_broken_promises
from kfbot.store.sayings import Saying, Words
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import Stage, staged
from tests.dialogues.conftest import stage as stage
from tests.integration.stores import count

pytestmark = pytest.mark.asyncio
PHONE = "13800138000"


@pytest.fixture
def database_url(url: str) -> str:
    return url


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(capabilities=Capabilities(buttons=True, text_length=4000))


def chat(name: str) -> ConversationId:
    return ConversationId("shop", name)


async def keep_up(stage: Stage, keep_days: dict[str, int] | None = None, **section: Any) -> None:
    """What the server does from time to time, with these settings."""
    application = stage.application
    privacy = Privacy(
        application.conversations._database,
        stage.knowledge,
        stage.clock,
        settings=Settings(privacy=section),
        keep_days=keep_days or {},
        pause_seconds=0,
    )
    await privacy.keep_up()


async def chats(database: Database) -> list[str]:
    query = sa.select(tables.conversation_alias.c.chat).order_by(tables.conversation_alias.c.chat)
    return list(await database.read(lambda c: c.execute(query).scalars()))


async def column(database: Database, column: sa.Column[Any]) -> Sequence[Any]:
    query = sa.select(column)
    return await database.read(lambda c: c.execute(query).scalars().all())


async def test_conversations_go_with_their_customers_so_many_days_after_the_last_word(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await stage.customer_says("How do I return an item?", chat=chat("old"), sender=Sender("ann"))
    await stage.customer_says("怎么开发票", chat=chat("late"), sender=Sender("bob"))
    clock.advance(days=6)
    await stage.customer_says("运费是多少", chat=chat("late"), sender=Sender("bob"))
    clock.advance(days=5)
    await keep_up(stage, keep_conversations_days=10)
    assert await chats(database) == ["late"]
    assert await column(database, tables.customer.c.platform_user) == ["bob"]
    assert await count(database, tables.turn) == 2
    assert await find_broken_promises(database) == []


async def test_who_waits_or_talks_to_a_person_is_never_forgotten(
    stage: Stage, database: Database, clock: Clock
) -> None:
    for name in ("waits", "talks", "done"):
        await stage.customer_says("转人工", chat=chat(name))
    for name in ("talks", "done"):
        number = (await stage.conversation(chat(name))).id
        await stage.application.handoff.claim(number, "anna")
    await stage.application.handoff.resolve(number, "anna")
    await stage.sent_out()
    clock.advance(days=400)
    await keep_up(stage, keep_conversations_days=10)
    assert await chats(database) == ["talks", "waits"]


async def test_a_channel_keeps_for_as_long_as_its_own_section_says(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await stage.customer_says("How do I return an item?")
    clock.advance(days=20)
    await keep_up(stage, {"shop": 0}, keep_conversations_days=10)
    await keep_up(stage, {"shop": 30}, keep_conversations_days=10)
    assert await chats(database) == ["chat-1"]
    await keep_up(stage, {"shop": 15})
    assert await chats(database) == []


async def test_without_a_limit_everything_stays(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await stage.customer_says("How do I return an item?")
    clock.advance(days=4000)
    await stage.application.privacy.keep_up()
    assert await chats(database) == ["chat-1"]


async def test_what_retention_did_is_noted_and_nothing_where_it_did_nothing(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await stage.customer_says("How do I return an item?")
    await keep_up(stage, keep_conversations_days=10)
    assert await AuditStore(database, clock).list() == ()
    clock.advance(days=11)
    await keep_up(stage, keep_conversations_days=10)
    [deed] = await AuditStore(database, clock).list()
    assert (deed.actor, deed.action) == ("kfbot", "retention")
    assert deed.details["removed"]["conversation"] == deed.details["removed"]["customer"] == 1


async def test_the_section_of_a_channel_counts_in_a_running_bot(
    database: Database, clock: Clock
) -> None:
    section = AdapterSettings(platform="fake", keep_conversations_days=5)
    channel = FakeAdapter(settings=section, capabilities=Capabilities())
    async with staged(database, clock, channel) as stage:
        await stage.customer_says("How do I return an item?")
        clock.advance(days=6)
        await stage.application.upkeep.purge()
        assert await chats(database) == []


async def test_private_data_is_masked_everywhere_once_nobody_works_on_it(
    stage: Stage, database: Database, clock: Clock
) -> None:
    question = f"My number is {PHONE}, why are giraffes so tall?"
    await stage.customer_says(question)
    number = (await stage.conversation()).id
    await keep_up(stage, mask="default", mask_after_days=0)
    # The agent needs it.
    assert question in await column(database, tables.message.c.text)
    await stage.application.handoff.reply(number, "anna", f"We call {PHONE} in a minute or two.")
    await stage.application.handoff.resolve(number, "anna")
    await stage.sent_out()
    shown = [message.text for message in stage.channel.sent]
    clock.advance(days=8)
    await keep_up(stage, mask="default", mask_after_days=7)
    for table in tables.metadata.sorted_tables:
        rows = await database.read(lambda c, table=table: c.execute(sa.select(table)).all())
        assert PHONE not in repr(rows), table.name
    said = await column(database, tables.message.c.text)
    assert "My number is [mobile], why are giraffes so tall?" in said
    assert any(PHONE in text for text in shown)
    turns = await column(database, tables.turn.c.data)
    assert turns[0]["question"] == "My number is [mobile], why are giraffes so tall?"


async def test_names_files_and_agents_threads_are_masked_and_what_documents_say_is_not(
    stage: Stage, database: Database, clock: Clock
) -> None:
    stage.knowledge.entries["How do I reach you?"] = f"The shop has {PHONE}."
    file = Attachment(url=f"https://files.example/{PHONE}.png", name=f"{PHONE}.png")
    ann = Sender("ann", "customer", f"Ann {PHONE}")
    await stage.customer_says("How do I reach you?", attachments=(file,), sender=ann)
    await stage.customer_says("转人工", sender=ann)
    number = (await stage.conversation()).id
    [case] = stage.desk.opened

    def shown_to_agents(connection: sa.Connection) -> None:
        room = ConversationId("agents", "room", "thread")
        thread = add_conversation(connection, room, clock(), state=State.THREAD)
        shown = {"case_id": case.id, "channel": "agents", "conversation_id": thread}
        connection.execute(tables.case_thread.insert().values(**shown))
        said = {"conversation_id": thread, "role": "bot", "text": f"She has {PHONE}."}
        connection.execute(tables.message.insert().values(**said, created_at=clock()))

    await database.write(shown_to_agents)
    await stage.application.handoff.resolve(number, "anna")
    await stage.sent_out()
    clock.advance(days=8)
    await keep_up(stage, mask="default", mask_after_days=7)
    assert await column(database, tables.customer.c.display_name) == ["Ann [mobile]"]
    assert "Ann [mobile]" in await column(database, tables.message.c.sender_name)
    assert "She has [mobile]." in await column(database, tables.message.c.text)
    extras = await column(database, tables.message.c.extras)
    [attached] = [one["attachments"] for one in extras if "attachments" in one]
    masked = {"url": "https://files.example/[mobile].png", "media_type": "", "name": "[mobile].png"}
    assert attached == [masked]
    assert PHONE not in repr(await column(database, tables.inbox.c.payload))
    cited = [one["quote"] for row in extras for one in row.get("citations", ())]
    assert cited == [f"The shop has {PHONE}."]


async def test_masked_conversations_are_masked_again_only_when_somebody_wrote(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await stage.customer_says(f"运费是多少 {PHONE}")
    clock.advance(days=2)
    await keep_up(stage, mask=["mobile"], mask_after_days=1)
    [first] = await column(database, tables.conversation.c.masked_at)
    clock.advance(days=2)
    await keep_up(stage, mask=["mobile"], mask_after_days=1)
    assert await column(database, tables.conversation.c.masked_at) == [first]
    await stage.customer_says(f"怎么开发票 {PHONE}")
    clock.advance(days=2)
    await keep_up(stage, mask=["mobile"], mask_after_days=1)
    assert await column(database, tables.conversation.c.masked_at) != [first]
    assert PHONE not in repr(await column(database, tables.message.c.text))


async def test_a_setting_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match='nothing is masked while mask is "none"'):
        load_settings(overrides={"privacy": {"mask_after_days": 3}})


# What customers are told

EN, ZH = "We keep what you write for 90 days.", "我们会保存您的消息 90 天。"


def telling(**further: Any) -> FakeAdapter:
    section = AdapterSettings(platform="fake", **{"consent_en": EN, "consent_zh": ZH, **further})
    return FakeAdapter(settings=section, capabilities=Capabilities(buttons=True, text_length=4000))


async def test_every_customer_is_told_once_with_the_first_answer_in_their_language(
    database: Database, clock: Clock
) -> None:
    async with staged(database, clock, telling()) as stage:
        first = await stage.customer_says("How do I return an item?", sender=Sender("ann"))
        assert [one.text for one in first] == [EN, "Open the order and press Return."]
        again = await stage.customer_says("怎么开发票", sender=Sender("ann"))
        assert len(again) == 1
        other = await stage.customer_says("怎么开发票", chat=chat("2"), sender=Sender("bob"))
        assert [one.text for one in other] == [ZH, "在订单页申请电子发票。"]
        handed = await stage.customer_says("转人工", chat=chat("3"), sender=Sender("cid"))
        assert handed[0].text == ZH
        found = await stage.application.privacy.export("shop", "ann", actor="token")
    assert found is not None
    [told] = found["told"]
    assert (told["language"], len(told["text_hash"])) == ("en", 64)
    assert EN in [one["text"] for one in found["conversations"][0]["messages"]]


async def test_another_text_is_told_again(database: Database, clock: Clock) -> None:
    async with staged(database, clock, telling()) as stage:
        await stage.customer_says("How do I return an item?")
    async with staged(database, clock, telling(consent_en="New.", consent_zh="")) as stage:
        stage.numbers = itertools.count(100)
        sent = await stage.customer_says("运费是多少")
        assert sent[0].text == "New."
        assert len(await stage.customer_says("怎么开发票")) == 1


async def test_what_the_bot_reads_of_the_conversation_has_no_notice_in_it(
    database: Database, clock: Clock
) -> None:
    async with staged(database, clock, telling()) as stage:
        await stage.customer_says("How do I return an item?")
        number = (await stage.conversation()).id
        context = await stage.application.transcripts.context(number)
        assert [one.text for one in context.history][1:] == ["Open the order and press Return."]


async def test_where_the_answer_is_half_shown_the_notice_comes_behind_it(
    stage: Stage, database: Database, clock: Clock
) -> None:
    await stage.customer_says("How do I return an item?")
    conversation = await stage.conversation()
    turn = Turn(question="怎么退货", decision="answer", confidence=1.0, text="a")
    saying = Saying(conversation=conversation, words=(Words(text="a"),), pushed=True, turn=turn)
    event, notice = stage.message("怎么退货"), Notice(en=EN, zh=ZH)

    def told(connection: sa.Connection) -> list[str]:
        said = with_notice(connection, notice, saying, event, clock(), is_shown=True)
        return [words.text for words in said.words]

    assert await database.write(told) == ["a", ZH]
    assert await database.write(told) == ["a"]


async def test_the_http_api_shows_no_notice_and_so_takes_none() -> None:
    from kfbot.channels import open_channels

    settings = Settings(channels={"api": {"consent_en": EN}})
    with pytest.raises(SettingsError, match="shows the answer, and a consent text, by itself"):
        open_channels(settings)
