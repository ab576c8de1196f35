"""What is kept of what agents taught, and how it is read, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.agents import Agent, Team
from kfbot.learning.teaching import COMPARED, TOGETHER, Teaching
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.proposals import Draft, ProposalStore
from kfbot.store.unanswered import UnansweredStore
from kfbot.testing import FakeKnowledgeBase
from tests.conftest import Clock

pytestmark = pytest.mark.asyncio

ANN = Agent(name="ann", display_name="Ann", role="admin")


@pytest.fixture
def database_url(url: str) -> str:
    """What follows runs on both databases."""
    return url


@pytest_asyncio.fixture
async def store(database: Database, clock: Clock) -> AsyncIterator[ProposalStore]:
    yield ProposalStore(database, clock)


async def test_agents_see_the_proposals_of_their_teams(store: ProposalStore) -> None:
    for channel, name in (("shop", "toys"), ("shop", ""), ("app", "toys"), ("", "tools")):
        draft = Draft(question=f"{channel} {name}", answer="a", knowledge_base=name)
        await store.add(ANN, draft, channel=channel)

    async def seen(*teams: Team) -> list[str]:
        agent = Agent(name="ben", display_name="Ben", teams=teams)
        found = await store.page(agent, "open")
        assert await store.count_open(agent) == len(found)
        for one in found:
            assert await store.find(agent, one.id) == one
        return [one.draft.question.strip() for one in found]

    assert await seen() == []
    assert await seen(Team(name="all")) == ["tools", "app toys", "shop", "shop toys"]
    assert await seen(Team(name="s", channels=("shop",))) == ["tools", "shop", "shop toys"]
    assert await seen(Team(name="t", knowledge_bases=("tools",))) == ["tools", "shop"]
    both = Team(name="b", channels=("app",), knowledge_bases=("toys",))
    assert await seen(both) == ["app toys"]


async def test_proposals_come_in_pages_the_newest_first(store: ProposalStore) -> None:
    made = [
        await store.add(ANN, Draft(question=f"q{n}", answer="a", knowledge_base="fake"))
        for n in range(5)
    ]
    first = await store.page(ANN, "open", limit=3)
    rest = await store.page(ANN, "open", before=first[-1].id, limit=3)
    assert [one.id for one in (*first, *rest)] == made[::-1]
    assert await store.page(ANN, "open", knowledge_base="toys") == ()


class CountingKnowledge(FakeKnowledgeBase):
    """Remembers how many questions it was given at a time."""

    def __init__(self) -> None:
        super().__init__({})
        self.given: list[int] = []

    async def alike(self, questions: Any) -> tuple[tuple[int, ...], ...]:
        self.given.append(len(questions))
        return await super().alike(questions)


async def asked_in_vain(database: Database, clock: Clock, count: int) -> None:
    """So many customers asked something of their own."""

    def write(connection: sa.Connection) -> None:
        now = clock()
        people = [
            {"channel": "shop", "platform_user": f"u{n}", "created_at": now} for n in range(count)
        ]
        connection.execute(tables.customer.insert(), people)
        ids = list(connection.execute(sa.select(tables.customer.c.id)).scalars())
        rows = [{"id": n, "customer_id": n, "created_at": now, "updated_at": now} for n in ids]
        connection.execute(tables.conversation.insert(), rows)
        connection.execute(
            tables.conversation_alias.insert(),
            [{"channel": "shop", "chat": f"c{n}", "conversation_id": n} for n in ids],
        )
        cases = [
            {
                "conversation_id": n,
                "reason": "unsure",
                "question": f"what is number {n}",
                "opened_at": now,
            }
            for n in ids
        ]
        connection.execute(tables.case.insert(), cases)

    await database.write(write)


async def test_many_questions_are_compared_a_few_at_a_time_and_only_once(
    database: Database, store: ProposalStore, clock: Clock
) -> None:
    await asked_in_vain(database, clock, COMPARED + 50)
    knowledge = CountingKnowledge()
    teaching = Teaching(knowledge, store, UnansweredStore(database), clock)
    found = await teaching.groups(ANN, 7)
    assert (len(found.groups), found.left_out) == (COMPARED, 50)
    *some, everything = knowledge.given
    assert (sum(some), max(some), everything) == (COMPARED, TOGETHER, COMPARED)
    knowledge.given.clear()
    again = await asyncio.gather(teaching.groups(ANN, 7), teaching.groups(ANN, 7))
    assert {len(one.groups) for one in again} == {COMPARED}
    assert knowledge.given == []


async def test_who_cannot_wait_gets_the_newest_and_is_told_of_the_rest(
    database: Database, store: ProposalStore, clock: Clock
) -> None:
    await asked_in_vain(database, clock, 3 * TOGETHER)
    teaching = Teaching(
        CountingKnowledge(), store, UnansweredStore(database), clock, patience_seconds=0
    )
    counts = [await teaching.groups(ANN, 7) for _ in range(4)]
    assert [len(one.groups) for one in counts] == [size * TOGETHER for size in (1, 2, 3, 3)]
    assert [one.left_out for one in counts] == [2 * TOGETHER, TOGETHER, 0, 0]


async def test_cases_that_the_bot_had_no_say_in_are_no_gaps(
    database: Database, store: ProposalStore, clock: Clock
) -> None:
    await asked_in_vain(database, clock, 2)
    ruled = tables.case.update().where(tables.case.c.id == 1).values(reason="keyword")
    await database.write(lambda c: c.execute(ruled).rowcount)
    teaching = Teaching(FakeKnowledgeBase({}), store, UnansweredStore(database), clock)
    assert len((await teaching.groups(ANN, 7)).groups) == 1
    clock.advance(days=8)
    assert (await teaching.groups(ANN, 7)).groups == ()
