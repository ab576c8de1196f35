"""Conversations in which several customers wrote: each is shown, and loses, their own part."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from kfbot.messages import ButtonPressed, ConversationId, MessageEdited, Sender
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.integrity import find_broken_promises
from kfbot.store.redaction import MARK
from tests.dialogues.conftest import ENTRIES, Stage
from tests.integration.test_privacy import ANN, dumped, erased, found_in
from tests.integration.test_privacy import channel as channel
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
