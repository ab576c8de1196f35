"""What is due for open cases is done once, by whichever replica, and found by an index."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from kfbot.conversation import State, hand_off
from kfbot.handoff.limits import Step
from kfbot.messages import ConversationId
from kfbot.store import tables
from kfbot.store.agents import AgentStore, NewAgent
from kfbot.store.case_actions import CaseActionStore
from kfbot.store.cases import open_case
from kfbot.store.conversations import (
    ConversationStore,
    add_conversation,
    get_conversation,
    save_conversation,
)
from kfbot.store.engine import Database
from kfbot.store.lanes import set_ready
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.waiting import Announcement, WaitingStore
from tests.conftest import Clock

pytestmark = pytest.mark.asyncio

NOTICE = Announcement(text="Sorry.", pushed=True, text_length=1000)


@pytest.fixture
def database_url(url: str) -> str:
    return url


async def waiting_case(database: Database, clock: Clock, chat: str = "1") -> int:
    def operation(connection: sa.Connection) -> int:
        now = clock()
        number = add_conversation(connection, ConversationId("shop", chat), now)
        set_ready(connection, [number], now)
        save_conversation(connection, hand_off(get_conversation(connection, number)), now)
        open_case(connection, number, "unsure", now, question="?")
        return number

    return await database.write(operation)


async def said(database: Database) -> list[str]:
    query = sa.select(tables.message.c.text).order_by(tables.message.c.id)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def test_replicas_that_come_at_once_tell_the_customer_once(
    database: Database, clock: Clock
) -> None:
    await waiting_case(database, clock)
    others = Database(database.url.render_as_string(hide_password=False))
    second = database if database.is_sqlite else others
    stores = [WaitingStore(database, clock), WaitingStore(second, clock)] * 3
    async with others:
        [found] = await stores[0].due()
        step = Step("notice", clock(), 1)
        told = await asyncio.gather(*(one.act(found.standing, step, NOTICE) for one in stores))
    assert sorted(told) == [False] * 5 + [True]
    assert await said(database) == ["Sorry."]


async def test_a_claim_in_between_makes_what_was_due_void(database: Database, clock: Clock) -> None:
    number, store = await waiting_case(database, clock), WaitingStore(database, clock)
    [found] = await store.due()
    outcomes = OutcomeStore(database, clock)
    await outcomes.change_owner(number, "claim", agent="ann", notice="", pushed=True)
    assert not await store.act(found.standing, Step("notice", clock(), 1), NOTICE)
    assert await store.pass_on(found.standing, automatic=False) is None
    assert await said(database) == []
    assert (await ConversationStore(database).get(number)).state is State.AGENT


async def test_what_is_said_in_between_makes_a_limit_void(database: Database, clock: Clock) -> None:
    number, store = await waiting_case(database, clock), WaitingStore(database, clock)
    outcomes = OutcomeStore(database, clock)
    await outcomes.change_owner(number, "claim", agent="ann", notice="", pushed=True)
    [found] = await store.due()
    clock.advance(seconds=1)
    await outcomes.agent_says(number, "ann", "Here I am.", pushed=False)
    assert not await store.act(found.standing, Step("requeue", clock(), 0))
    assert (await ConversationStore(database).get(number)).state is State.AGENT
    [found] = await store.due()
    assert await store.act(found.standing, Step("requeue", clock(), 0))


async def test_a_case_leaves_an_agent_who_may_not_take_it_any_more(
    database: Database, clock: Clock
) -> None:
    number, store = await waiting_case(database, clock), WaitingStore(database, clock)
    agents = AgentStore(database, clock)
    await agents.add(
        NewAgent(name="bob", display_name="Bob", role="agent", password_hash=""), by="test"
    )
    await agents.seen(["bob"])
    await CaseActionStore(database, clock).assign(number, "bob", by="ann")
    await database.write(lambda c: c.execute(tables.agent.update().values(role="viewer")).rowcount)
    [found] = await store.due()
    assert await store.pass_on(found.standing, automatic=True) is None
    case = await ConversationStore(database).open_case(number)
    assert case is not None
    assert case.assigned_to is None


async def test_after_the_clock_was_set_back_every_case_is_looked_at(
    database: Database, clock: Clock
) -> None:
    await waiting_case(database, clock)
    store = WaitingStore(database, clock)
    [found] = await store.due()
    await store.postpone(found.standing, clock() + timedelta(hours=1))
    clock.advance(days=-9)
    assert await store.due() == ()
    await MessageStore(database, clock).hasten()
    assert len(await store.due()) == 1


async def test_a_postponed_case_comes_up_again_at_its_time_or_when_it_is_claimed(
    database: Database, clock: Clock
) -> None:
    number, store = await waiting_case(database, clock), WaitingStore(database, clock)
    [found] = await store.due()
    await store.postpone(found.standing, clock() + timedelta(hours=1))
    assert await store.due() == ()
    clock.advance(hours=1)
    [found] = await store.due()
    await store.postpone(found.standing, clock() + timedelta(hours=1))
    outcomes = OutcomeStore(database, clock)
    await outcomes.change_owner(number, "claim", agent="ann", notice="", pushed=True)
    assert len(await store.due()) == 1
    await outcomes.change_owner(number, "resolve", agent="ann", notice="", pushed=True)
    clock.advance(days=9)
    assert await store.due() == ()


async def test_nobody_is_given_more_cases_than_they_take(database: Database, clock: Clock) -> None:
    numbers = [await waiting_case(database, clock, str(chat)) for chat in range(6)]
    agents = AgentStore(database, clock)
    for name, capacity in (("ann", 2), ("bob", 1)):
        new = NewAgent(
            name=name, display_name=name, role="agent", password_hash="", capacity=capacity
        )
        await agents.add(new, by="test")
    await agents.seen(["ann", "bob"])
    stores = [WaitingStore(database, clock) for _ in range(4)]
    given = await asyncio.gather(*(one.give_out(["shop"]) for one in stores))
    all_given = {number: name for one in given for number, name in one.items()}
    assert sum(map(len, given)) == len(all_given) == 3
    assert sorted(all_given.values()) == ["ann", "ann", "bob"]
    # The longest waiting come first.
    assert sorted(all_given) == numbers[:3]
    assert await stores[0].give_out(["mail"]) == {}


async def test_a_transfer_takes_the_case_from_the_agent_and_raises_the_epoch(
    database: Database, clock: Clock
) -> None:
    number = await waiting_case(database, clock)
    agents = AgentStore(database, clock)
    await agents.add(
        NewAgent(name="bob", display_name="Bob", role="agent", password_hash=""), by="test"
    )
    outcomes, actions = OutcomeStore(database, clock), CaseActionStore(database, clock)
    before = await outcomes.change_owner(number, "claim", agent="ann", notice="", pushed=True)
    await actions.assign(number, "bob", by="ann")
    after = await ConversationStore(database).get(number)
    assert (after.state, after.agent) == (State.WAITING, None)
    assert after.ownership_epoch == before.ownership_epoch + 1
    case = await ConversationStore(database).open_case(number)
    assert case is not None
    assert (case.assigned_to, case.claimed_by) == ("bob", None)


async def test_what_is_due_is_found_by_an_index(database: Database, clock: Clock) -> None:
    if not database.is_sqlite:
        pytest.skip("SQLite keeps no statistics, so its plan is the same for every size")
    case = tables.case.c
    query = sa.select(case.id).where(case.closed_at.is_(None), case.due_at <= clock())

    def plan(connection: sa.Connection) -> str:
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        return " ".join(str(row[-1]) for row in rows)

    assert "ix_case_due_at" in await database.read(plan)
