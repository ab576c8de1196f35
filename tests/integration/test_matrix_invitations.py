"""Invitations on a real Synapse: accepted where the settings allow it, and never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio

from adapters.matrix.homeserver import Homeserver
from adapters.matrix.position import Position
from tests.integration.conftest import Served
from tests.integration.test_matrix import ANSWER, QUESTION, said, section
from tests.integration.test_matrix_adapter import listening, make, until
from tests.platforms.synapse import Person, Synapse

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def account(synapse: Synapse) -> AsyncIterator[Person]:
    async with Person(synapse, "shopbot") as opened:
        yield opened


@pytest_asyncio.fixture
async def alice(synapse: Synapse) -> AsyncIterator[Person]:
    async with Person(synapse, "alice") as opened:
        yield opened


@contextmanager
def unjoinable() -> Iterator[asyncio.Event]:
    """No room can be joined; set once one was to be, and its invitation will not be told again."""
    tried, confirmed = asyncio.Event(), asyncio.Event()
    advance = Position.advance

    async def hang(self: Homeserver, room: str, via: str = "") -> None:
        await confirmed.wait()
        tried.set()
        # Until the bot is stopped.
        await asyncio.Event().wait()

    async def noted(self: Position, batch: Any, *, is_news: bool) -> None:
        await advance(self, batch, is_news=is_news)
        if is_news and "invite" in batch["rooms"]:
            confirmed.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Homeserver, "join", hang)
        patched.setattr(Position, "advance", noted)
        yield tried


async def test_an_invitation_that_was_not_accepted_before_a_stop_is_accepted_after_it(
    synapse: Synapse, account: Person, alice: Person, served: Served
) -> None:
    sections = {"shop": section(synapse, account)}
    with unjoinable() as tried:
        async with served(sections=sections):
            room = await alice.opens(account.id)
            await alice.says(room, QUESTION)
            await asyncio.wait_for(tried.wait(), 20)
    async with served(sections=sections):
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
