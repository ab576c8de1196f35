"""A knowledge base that is for a role: nothing of it reaches anybody else, on no path."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.bootstrap import wire
from kfbot.knowledge_base import KnowledgeStatus, Retrieval
from kfbot.messages import ButtonPressed, ConversationId, MessageEdited, Sender
from kfbot.settings import Settings
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter, FakeDesk, FakeKnowledgeBase
from tests.dialogues.conftest import CHAT, Stage

pytestmark = pytest.mark.asyncio

GROUP = ConversationId("shop", "group-1", member="staff-1")
OPEN = {
    "How do I return an item?": "Open the order and press Return.",
    "How long do I have to return an item?": "You have 15 days.",
}
SECRET = {
    "What is the margin of an item?": "secret: 40 percent.",
    "What is the margin of a kettle?": "secret: 60 percent.",
}
MARGIN = "What is the margin of an item?"
STAFF, BOSS, STRANGER = Sender("staff-1"), Sender("boss"), Sender("stranger")
SETTINGS = Settings(
    knowledge={
        "open": {"sources": ["a"]},
        "secret": {"sources": ["b"], "roles": ["staff", "admins"]},
    }
)


@dataclass
class TwoBases(FakeKnowledgeBase):
    """What is open to everybody, and what is for staff: found only where it may be."""

    names_asked: list[Collection[str] | None] = field(default_factory=list)

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
    ) -> Retrieval:
        self.names_asked.append(names)
        allowed = {
            **(OPEN if names is None or "open" in names else {}),
            **(SECRET if names is None or "secret" in names else {}),
        }
        found = await FakeKnowledgeBase(allowed).search(query, limit=limit, earlier=earlier)
        passages = tuple(
            replace(
                one,
                knowledge_base="secret" if one.question in SECRET else "open",
                document_id=one.question,
            )
            for one in found.passages
        )
        return replace(found, passages=passages)

    async def examples(self, language: str, limit: int, **asked: Any) -> tuple[str, ...]:
        self.names_asked.append(asked["names"])
        return ()

    async def status(self) -> tuple[KnowledgeStatus, ...]:
        [one] = await super().status()
        return (replace(one, name="open"), replace(one, name="secret"))


@asynccontextmanager
async def staged(database: Database, clock: Any) -> AsyncIterator[Stage]:
    section = AdapterSettings(
        platform="fake", admins=("boss",), roles={"staff": ("staff-1",)}, overhear=True
    )
    channel = FakeAdapter(settings=section, capabilities=Capabilities(buttons=True))
    knowledge, desk = TwoBases({}), FakeDesk()
    application = wire(
        SETTINGS, database, knowledge, channels={"shop": channel}, desks=[desk], clock=clock
    )
    running = asyncio.create_task(application.run())
    try:
        yield Stage(application, channel, knowledge, desk, clock)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def searched_secret(stage: Stage) -> bool:
    knowledge = stage.knowledge
    assert isinstance(knowledge, TwoBases)
    return any(names is None or "secret" in names for names in knowledge.names_asked)


def said(stage: Stage) -> str:
    return repr(stage.channel.sent)


@pytest.mark.parametrize("sender", [STAFF, BOSS])
async def test_who_has_the_role_is_answered_in_private(
    database: Database, clock: Any, sender: Sender
) -> None:
    async with staged(database, clock) as stage:
        [answer] = await stage.customer_says(MARGIN, sender=sender)
        assert answer.text == "secret: 40 percent."


async def test_choices_and_edits_in_private_stay_open_to_who_has_the_role(
    database: Database, clock: Any
) -> None:
    async with staged(database, clock) as stage:
        await stage.customer_says("What is the margin here?", sender=STAFF)
        tokens = {one.label: one.token for message in stage.channel.sent for one in message.buttons}
        press = ButtonPressed(
            event_id="press", conversation=CHAT, token=tokens[MARGIN], sender=STAFF,
            sent_at=clock(), in_group=False,
        )  # fmt: skip
        await stage.settle(await stage.accept(press))
        assert stage.channel.sent[-1].text == "secret: 40 percent."


PLACES: Mapping[str, dict[str, Any]] = {
    "a stranger in private": {"sender": STRANGER},
    "staff in a group": {"sender": STAFF, "chat": GROUP, "in_group": True},
    "an admin in a group": {"sender": BOSS, "chat": GROUP, "in_group": True},
    "staff overheard": {
        "sender": STAFF, "chat": GROUP, "in_group": True, "addressed_to_bot": False,
    },
}  # fmt: skip
WORDS = (
    MARGIN,
    "How do I return an item? And what is the margin of an item?",
    "And of a kettle?",
    "1",
    "/kb search margin of an item",
    "/why",
    "/kb status",
)


@pytest.mark.parametrize("place", PLACES)
async def test_nothing_of_it_is_searched_for_anybody_else(
    database: Database, clock: Any, place: str
) -> None:
    async with staged(database, clock) as stage:
        for words in WORDS:
            await stage.customer_says(words, **PLACES[place])
        assert not searched_secret(stage)
        assert "secret:" not in said(stage)


async def test_an_admin_in_a_group_is_told_nothing_of_what_is_not_for_the_group(
    database: Database, clock: Any
) -> None:
    async with staged(database, clock) as stage:
        for words in ("/kb status", "/kb reload secret", "/kb reload nothing"):
            await stage.customer_says(words, **PLACES["an admin in a group"])
        assert len(stage.channel.sent) == 3
        assert "secret" not in said(stage).replace("“secret”", "")
        [told] = await stage.customer_says("/kb status", sender=BOSS)
        assert "secret" in told.text


async def test_an_edit_and_a_press_in_a_group_open_nothing(database: Database, clock: Any) -> None:
    async with staged(database, clock) as stage:
        group: dict[str, Any] = {"sender": STAFF, "chat": GROUP, "in_group": True}
        await stage.customer_says("How do I return my item?", **group, message_id="asked")
        edit = MessageEdited(
            event_id="edit", conversation=GROUP, message_id="asked", sender=STAFF,
            sent_at=clock(), text=MARGIN,
        )  # fmt: skip
        await stage.settle(await stage.accept(edit))
        tokens = [one.token for message in stage.channel.sent for one in message.buttons]
        for number, token in enumerate(tokens):
            press = ButtonPressed(
                event_id=f"press-{number}", conversation=GROUP, token=token, sender=BOSS,
                sent_at=clock(),
            )  # fmt: skip
            await stage.settle(await stage.accept(press))
        assert not searched_secret(stage)


async def test_a_choice_offered_to_staff_opens_nothing_to_another_hand(
    database: Database, clock: Any
) -> None:
    """A chat may change hands, and a place may turn out to be a group."""
    async with staged(database, clock) as stage:
        await stage.customer_says("What is the margin here?", sender=STAFF)
        tokens = [one.token for message in stage.channel.sent for one in message.buttons]
        before = len(stage.channel.sent)
        knowledge = stage.knowledge
        assert isinstance(knowledge, TwoBases)
        knowledge.names_asked.clear()
        hands = [(STRANGER, False), (STAFF, True)]
        for number, (token, (sender, in_group)) in enumerate(itertools.product(tokens, hands)):
            press = ButtonPressed(
                event_id=f"press-{number}", conversation=CHAT, token=token, sender=sender,
                sent_at=clock(), in_group=in_group,
            )  # fmt: skip
            await stage.settle(await stage.accept(press))
        await stage.customer_says("1", sender=STRANGER)
        assert not searched_secret(stage)
        assert "secret:" not in repr(stage.channel.sent[before:])


async def test_the_api_knows_nobody(database: Database, clock: Any) -> None:
    async with staged(database, clock) as stage:
        turn = await stage.application.ask(MARGIN)
        assert not searched_secret(stage)
        assert "secret:" not in repr(turn)
