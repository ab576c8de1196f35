"""Invitations on a real Synapse: accepted where the settings allow it, and never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.matrix import membership
from adapters.matrix.homeserver import Homeserver
from adapters.matrix.position import Position
from kfbot.errors import ChannelUnavailable
from tests.integration.conftest import ENTRIES, Served
from tests.integration.test_matrix import ANSWER, INVOICE, QUESTION, said, section
from tests.integration.test_matrix import account as account
from tests.integration.test_matrix import alice as alice
from tests.integration.test_matrix_adapter import listening, make, until
from tests.platforms.synapse import Person, Synapse

pytestmark = pytest.mark.asyncio


@dataclass(frozen=True)
class Unjoinable:
    """What happens while no room can be joined."""

    #: One was to be joined, and what led there will not be told again.
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    #: News of the kind that is looked for was stored.
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)


@contextmanager
def unjoinable(kind: str) -> Iterator[Unjoinable]:
    """No room can be joined. `kind`: where a sync tells what leads to one, "invite" or "join"."""
    seen, advance = Unjoinable(), Position.advance

    async def hang(self: Homeserver, room: str, via: str = "") -> None:
        await seen.confirmed.wait()
        seen.tried.set()
        # Until the bot is stopped.
        await asyncio.Event().wait()

    async def noted(self: Position, batch: Any, *, is_news: bool) -> None:
        await advance(self, batch, is_news=is_news)
        if is_news and kind in batch["rooms"]:
            seen.confirmed.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Homeserver, "join", hang)
        patched.setattr(Position, "advance", noted)
        yield seen


async def test_an_invitation_that_was_not_accepted_before_a_stop_is_accepted_after_it(
    synapse: Synapse, account: Person, alice: Person, served: Served
) -> None:
    sections = {"shop": section(synapse, account)}
    with unjoinable("invite") as seen:
        async with served(sections=sections):
            room = await alice.opens(account.id)
            await alice.says(room, QUESTION)
            await asyncio.wait_for(seen.tried.wait(), 60)
    async with served(sections=sections):
        [answer] = await alice.until_answered(room, account.id)
        assert said(answer) == ANSWER


async def test_an_upgraded_room_that_was_not_joined_before_a_stop_is_joined_after_it(
    synapse: Synapse, account: Person, alice: Person, served: Served
) -> None:
    sections = {"shop": section(synapse, account)}
    old = await alice.opens(account.id, preset="public_chat")
    await account.joins(old)
    with unjoinable("join") as seen:
        async with served(sections=sections):
            await alice.says(old, QUESTION)
            await alice.until_answered(old, account.id)
            seen.confirmed.clear()
            upgraded = await alice.call("POST", f"/rooms/{old}/upgrade", {"new_version": "11"})
            await asyncio.wait_for(seen.tried.wait(), 60)
    async with served(sections=sections):
        new = upgraded["replacement_room"]

        async def joined() -> bool:
            members = await alice.call("GET", f"/rooms/{new}/joined_members")
            return account.id in members["joined"]

        # Nobody invites the bot there.
        await until(joined)
        await alice.says(new, INVOICE)
        [answer] = await alice.until_answered(new, account.id)
        assert said(answer) == ENTRIES[INVOICE]


async def test_an_invitation_is_accepted_once_the_homeserver_can_do_it(
    synapse: Synapse,
    account: Person,
    alice: Person,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join, away = Homeserver.join, iter((True, True))

    async def refuse(self: Homeserver, room: str, via: str = "") -> None:
        if next(away, False):
            raise ChannelUnavailable("shop", "the platform answers 502")
        await join(self, room, via)

    monkeypatch.setattr(Homeserver, "join", refuse)
    monkeypatch.setattr(membership, "_PAUSES_SECONDS", (0, 0))
    async with served(sections={"shop": section(synapse, account)}):
        room = await alice.opens(account.id)
        await alice.says(room, QUESTION)
        [answer] = await alice.until_answered(room, account.id)
        assert said(answer) == ANSWER


async def test_an_invitation_is_declined_unless_the_settings_allow_it(
    synapse: Synapse, account: Person, alice: Person
) -> None:
    declined = await alice.opens(account.id)
    async with make(synapse, account, invites=["other.test"]) as adapter, listening(adapter):

        async def gone() -> bool:
            path = f"/rooms/{declined}/state/m.room.member/{account.id}"
            return bool((await alice.call("GET", path))["membership"] == "leave")

        await until(gone)
    async with make(synapse, account, invites=[alice.id]) as adapter, listening(adapter) as heard:
        room = await alice.opens(account.id)
        await alice.says(room, "Hello")
        [event] = await heard.until(1)
        assert event.conversation.chat == room
