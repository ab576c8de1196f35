"""Conversations in which several customers wrote: each is shown, and loses, their own part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.cases.summarising import Summarising
from kfbot.errors import StoreUnavailable
from kfbot.grounding.writing import Writer
from kfbot.messages import Attachment, ButtonPressed, ConversationId, MessageEdited, Sender
from kfbot.store import redaction, tables
from kfbot.store.engine import Database
from kfbot.store.integrity import find_broken_promises
from kfbot.store.redaction import MARK
from kfbot.store.summaries import SummaryStore
from kfbot.testing import FakeChatModel
from tests.dialogues.conftest import ENTRIES, Stage
from tests.integration.test_privacy import ANN, dumped, erased, found_in
from tests.integration.test_privacy import channel as channel
from tests.integration.test_privacy import crm as crm
from tests.integration.test_privacy import database_url as database_url
from tests.integration.test_privacy import stage as stage

pytestmark = pytest.mark.asyncio
GROUP = ConversationId("shop", "group-1", "topic-1")
BOB = Sender("bob", "customer", "Bob")


async def test_in_a_shared_conversation_only_ones_own_words_go(
    stage: Stage, database: Database
) -> None:
    await stage.customer_says("quokkaquestion: who am I?", chat=GROUP, sender=ANN)
    group = (await stage.conversation(GROUP)).id
    await stage.application.handoff.hand_back(group, "anna")
    await stage.customer_says("运费是多少", chat=GROUP, sender=BOB)
    await stage.customer_says("How do I return an item?", chat=GROUP, sender=ANN)
    done = await erased(stage)
    assert (done.conversations, done.redacted) == (0, 1)
    transcript = await stage.application.transcripts.transcript(group)
    texts = [one.text for one in transcript]
    assert texts.count(MARK) >= 4
    assert "运费是多少" in texts
    assert ENTRIES["运费是多少"] in texts
    assert found_in(await dumped(database)) == []
    # It goes on as before.
    assert await stage.customer_says("怎么开发票", chat=GROUP, sender=BOB)


async def test_in_a_shared_conversation_edits_presses_and_what_others_cases_say_go_too(
    stage: Stage, database: Database
) -> None:
    said = stage.message("运费是多少", chat=GROUP, sender=ANN)
    await stage.settle(await stage.accept(said))
    edited = MessageEdited(
        event_id="edit-1", conversation=GROUP, message_id=said.message_id, sender=ANN,
        sent_at=stage.clock(), text="quokkaquestion: why is it so tall?",
    )  # fmt: skip
    await stage.settle(await stage.accept(edited))
    group = (await stage.conversation(GROUP)).id
    await stage.application.handoff.hand_back(group, "anna")
    await stage.customer_says("How do I return an item?", chat=GROUP, sender=ANN)
    buttons = [button for message in stage.channel.sent for button in message.buttons]
    for number, label in enumerate(("A person please", "Helpful")):
        token = next(one.token for one in reversed(buttons) if one.label == label)
        pressed = ButtonPressed(
            event_id=f"press-of-{number}", conversation=GROUP, token=token, sender=ANN,
            sent_at=stage.clock(),
        )  # fmt: skip
        await stage.settle(await stage.accept(pressed))
    await stage.application.handoff.hand_back(group, "anna")
    await stage.customer_says("why is my platypusprivate so tall?", chat=GROUP, sender=ANN)
    await stage.application.handoff.hand_back(group, "anna")
    await stage.customer_says("转人工", chat=GROUP, sender=BOB)
    summary = tables.case.update().where(tables.case.c.closed_at.is_(None))
    words = {"zh": "Ann asks for an echidna"}
    await database.write(lambda c: c.execute(summary.values(summary=words)).rowcount)
    await stage.application.handoff.reply(
        group, "anna", "It lives on Rottnest island, in the west."
    )
    await stage.application.handoff.resolve(group, "anna")
    await stage.sent_out()
    await erased(stage)
    left = await dumped(database)
    assert found_in(left) == []
    assert "How do I return" not in left
    assert await find_broken_promises(database) == []


async def both_wrote(stage: Stage) -> int:
    """Bob and then Ann; the conversation, which is the bot's."""
    await stage.customer_says("运费是多少", chat=GROUP, sender=BOB)
    await stage.customer_says("quokkaquestion: who am I?", chat=GROUP, sender=ANN)
    group = (await stage.conversation(GROUP)).id
    await stage.application.handoff.hand_back(group, "anna")
    return group


def killed(*_: object) -> None:
    raise StoreUnavailable("killed")


async def test_a_turn_that_began_before_a_redaction_keeps_nothing_of_what_it_read(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ann edits, twice; the turn on the first edit ends while her words are taken out."""
    await both_wrote(stage)
    said = stage.message("How do I return an item?", chat=GROUP, sender=ANN)
    await stage.settle(await stage.accept(said))
    asked, go_on = asyncio.Event(), asyncio.Event()
    search = stage.knowledge.search

    async def slow(*given: Any, **further: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await search(*given, **further)

    monkeypatch.setattr(stage.knowledge, "search", slow)
    edited = MessageEdited(
        event_id="edit-1", conversation=GROUP, message_id=said.message_id, sender=ANN,
        sent_at=stage.clock(), text="why is my platypusprivate so tall?",
    )  # fmt: skip
    await stage.accept(edited)
    stage.clock.advance(seconds=3)
    stage.application.inbox.wake()
    async with asyncio.timeout(60):
        await asked.wait()
    await stage.accept(replace(edited, event_id="edit-2", text="never mind"))
    with monkeypatch.context() as patch:
        patch.setattr(redaction, "_redact_some", killed)
        with pytest.raises(StoreUnavailable):
            await erased(stage)
    go_on.set()
    await stage.sent_out()
    await erased(stage)
    assert found_in(await dumped(database)) == []
    assert await find_broken_promises(database) == []


async def test_a_redaction_that_is_killed_at_its_last_step_is_finished_by_the_next(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob began the conversation: without Ann's words nothing says that she wrote in it."""
    await both_wrote(stage)
    await stage.customer_says("Where is the kookaburra?", chat=GROUP, sender=BOB)
    words = {"zh": "Ann asks for an echidna"}
    summary = tables.case.update().where(tables.case.c.closed_at.is_(None))
    await database.write(lambda c: c.execute(summary.values(summary=words)).rowcount)
    with monkeypatch.context() as patch:
        patch.setattr(redaction, "_close", killed)
        with pytest.raises(StoreUnavailable):
            await erased(stage)
    await erased(stage)
    assert found_in(await dumped(database)) == []


async def test_a_summary_that_is_written_while_its_words_are_erased_is_made_anew(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.customer_says("why is my quokkaquestion so tall?", chat=GROUP, sender=ANN)
    for question in ("where is parcel number nine?", "is it lost in Antwerp?"):
        await stage.customer_says(question, chat=GROUP, sender=BOB)
    [case] = stage.desk.opened
    model = FakeChatModel(
        ["The customer asks why the quokkaquestion is so tall.",
         "The customer asks where parcel number nine is."]
    )  # fmt: skip
    complete, asked, go_on = model.complete, asyncio.Event(), asyncio.Event()

    async def slow(*given: Any, **further: Any) -> AsyncIterator[str]:
        asked.set()
        await go_on.wait()
        async for piece in complete(*given, **further):
            yield piece

    monkeypatch.setattr(model, "complete", slow)
    application, store = stage.application, SummaryStore(database, stage.clock)
    summarising = Summarising(
        Writer(model), store, application.conversations, application.transcripts
    )
    running = asyncio.create_task(summarising.run())
    summarising.want(case, "en")
    async with asyncio.timeout(60):
        await asked.wait()
        await erased(stage)
        go_on.set()
        while not await store.languages(case):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    left = await dumped(database)
    assert found_in(left) == []
    assert "where parcel number nine is" in left
    assert len(model.prompts) == 2


async def test_what_the_bot_half_said_to_a_customer_is_redacted(
    stage: Stage, database: Database
) -> None:
    group = await both_wrote(stage)
    last = sa.select(sa.func.max(tables.inbox.c.id))
    inbox_id = await database.read(lambda c: c.execute(last).scalar_one())
    shown = tables.draft.insert().values(
        conversation_id=group, ownership_epoch=2, inbox_id=inbox_id,
        text="An echidna is", platform_ids=[], updated_at=stage.clock(),
    )  # fmt: skip
    await database.write(lambda c: c.execute(shown).rowcount)
    await stage.application.handoff.claim(group, "anna")
    assert "echidna" in await dumped(database)
    await erased(stage)
    assert found_in(await dumped(database)) == []


async def test_what_other_systems_are_told_of_others_stays_without_the_name(
    stage: Stage, database: Database
) -> None:
    """Ann began the conversation, so that each telling of it names her."""
    handoff = stage.application.handoff
    for sender, question in ((ANN, "quokkaquestion: who am I?"), (BOB, "Where is the kookaburra?")):
        await stage.customer_says(question, chat=GROUP, sender=sender)
        group = (await stage.conversation(GROUP)).id
        await handoff.hand_back(group, "anna")
    events = stage.application.conversation_events
    async with asyncio.timeout(60):
        while len(await events.list(state="delivered")) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    newest, *_ = await events.list()
    later = stage.clock() + timedelta(hours=1)
    waits = tables.event_delivery.update().where(tables.event_delivery.c.id == newest.id)
    await database.write(lambda c: c.execute(waits.values(state="pending", next_at=later)).rowcount)
    await erased(stage)
    left = await events.list()
    bodies = [json.loads(one.body)["data"] for one in left]
    assert [one.state for one in left] == ["pending", "delivered", "delivered"]
    asked = [body["case"]["question"] for body in bodies if "case" in body]
    assert asked == ["Where is the kookaburra?"]
    assert {body["conversation"]["customer"]["id"] for body in bodies} == {None}
    assert found_in(await dumped(database)) == []


async def test_who_wrote_no_words_takes_nothing_from_others_who_wrote_none(
    stage: Stage, database: Database
) -> None:
    """An agent has the conversation, and of what the case is about nothing was said."""
    await stage.customer_says("运费是多少", chat=GROUP, sender=BOB)
    group = (await stage.conversation(GROUP)).id
    await stage.application.handoff.claim(group, "anna")
    voice = (Attachment("https://files.example/wombatfile", "audio/ogg", "voice"),)
    for sender in (ANN, BOB):
        await stage.customer_says("", chat=GROUP, sender=sender, attachments=voice)
    await stage.customer_says("Where is the kookaburra?", chat=GROUP, sender=BOB)
    await stage.application.handoff.reply(group, "anna", "In the old gum tree, as it always is.")
    await stage.application.handoff.resolve(group, "anna")
    await stage.sent_out()
    await erased(stage)
    query = sa.select(tables.case.c.question, tables.proposal.c.question).join_from(
        tables.case, tables.proposal, tables.proposal.c.case_id == tables.case.c.id
    )
    [left] = await database.read(lambda c: c.execute(query).all())
    assert tuple(left) == ("", "Where is the kookaburra?")


async def test_what_others_asked_in_ones_own_conversation_is_not_ones_own(
    stage: Stage, database: Database
) -> None:
    """Ann began the group; each of them asked, and an agent answered."""
    await stage.customer_says("How do I return an item?", chat=GROUP, sender=ANN)
    group = (await stage.conversation(GROUP)).id
    handoff = stage.application.handoff
    for sender, question in ((BOB, "Where is the quokka?"), (ANN, "Why is the wombat round?")):
        await stage.customer_says(question, chat=GROUP, sender=sender)
        await handoff.reply(group, "anna", f"That is a long story, dear {sender.display_name}.")
        await handoff.resolve(group, "anna")
    await stage.sent_out()
    for user, own in (("customer-1", "Why is the wombat round?"), ("bob", "Where is the quokka?")):
        found = await stage.application.privacy.export("shop", user, actor="token")
        assert found is not None
        assert [one["question"] for one in found["proposals"]] == [own]
    await erased(stage)
    query = sa.select(tables.proposal.c.question)
    left = await database.read(lambda c: c.execute(query).scalars().all())
    assert left == ["Where is the quokka?"]


async def test_of_a_shared_conversation_an_export_shows_ones_own_part_alone(stage: Stage) -> None:
    await stage.customer_says("How do I return an item?", chat=GROUP, sender=ANN)
    await stage.customer_says("运费是多少", chat=GROUP, sender=BOB)
    for user, question, other in (
        ("customer-1", "How do I return an item?", "运费"),
        ("bob", "运费是多少", "return an item"),
    ):
        found = await stage.application.privacy.export("shop", user, actor="token")
        assert found is not None
        [conversation] = found["conversations"]
        assert conversation["others_wrote_too"] is True
        assert conversation["turns"][0]["question"] == question
        assert len(conversation["messages"]) == 2
        assert conversation["received"]
        assert other not in json.dumps(conversation, ensure_ascii=False)
