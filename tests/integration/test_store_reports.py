"""Turns, verdicts and cases of a span of time, counted on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from kfbot.adapter import Capabilities
from kfbot.reports import Place
from kfbot.store import reports as store
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.reports import ReportStore
from kfbot.turn import NewButton, Outcome, Reply, hand_off
from tests.conftest import Clock
from tests.integration.stores import claimed, message, outcome_in

pytestmark = pytest.mark.asyncio
HOUR = timedelta(hours=1)
WRITTEN = {"outcome": "written", "requests": 1, "prompt_tokens": 700, "completion_tokens": 20}


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


async def take(database: Database, clock: Clock, number: int, change: str = "") -> int:
    """A turn of the bot's in a conversation that goes on; returns the conversation."""
    messages, outcomes = MessageStore(database, clock), OutcomeStore(database, clock)
    conversations = ConversationStore(database)
    await messages.accept(message(clock, number))
    [lane] = await claimed(messages)
    waiting = (await messages.work(lane)).waiting or ()
    outcome = await outcome_in(conversations, lane, "yes")
    assert outcome.turn is not None
    usage = WRITTEN if change == "written" else {}
    turn = replace(outcome.turn, ranked=(("returns", "returns-1"),), usage=usage)
    outcome = replace(outcome, turn=turn)
    if change == "handoff":
        outcome = handed_off(outcome)
    if change == "helpful":
        buttons = (NewButton("Helpful", "helpful"),)
        outcome = replace(outcome, replies=(Reply(text="yes", buttons=buttons),))
    await outcomes.commit(lane, waiting, outcome, Capabilities(buttons=True, pulls_replies=True))
    await messages.release(lane)
    return lane.conversation_id


def handed_off(outcome: Outcome) -> Outcome:
    assert outcome.turn is not None
    return replace(
        outcome,
        turn=replace(outcome.turn, decision="handoff"),
        after=hand_off(outcome.before),
        case_reason="unsure",
    )


async def test_turns_and_cases_are_counted_where_and_when_they_happened(
    database: Database, clock: Clock
) -> None:
    began = clock()
    await take(database, clock, 1)
    await take(database, clock, 2)
    clock.advance(hours=1)
    conversation = await take(database, clock, 3, "handoff")
    clock.advance(seconds=90)
    outcomes = OutcomeStore(database, clock)
    await outcomes.agent_says(conversation, "anna", "I am here.", pushed=False)
    found = await ReportStore(database).counted(began - HOUR, clock() + HOUR)
    place = Place("shop", "returns")
    assert {(one.what, one.count, one.place) for one in found.tallies} == {
        ("answer", 2, place),
        ("handoff", 1, place),
    }
    quarters = {one.what: one.at for one in found.tallies}
    assert began - timedelta(minutes=15) < quarters["answer"] <= began
    assert quarters["answer"].tzinfo is UTC
    assert quarters["handoff"] > began
    [case] = found.cases
    assert case.first_reply_at is not None
    assert timedelta(seconds=90) <= case.first_reply_at - case.at < timedelta(seconds=91)
    assert (case.place, case.closed_at, found.is_complete) == (place, None, True)


async def test_a_verdict_counts_when_it_was_given(database: Database, clock: Clock) -> None:
    began = clock()
    await take(database, clock, 1, "helpful")
    clock.advance(hours=2)
    pressed = tables.button.update().values(pressed_at=clock())
    assert await database.write(lambda c: c.execute(pressed).rowcount) == 1
    reports = ReportStore(database)
    early = await reports.counted(began - HOUR, began + HOUR)
    assert [one.what for one in early.tallies] == ["answer"]
    late = await reports.counted(began + HOUR, began + 3 * HOUR)
    assert [(one.what, one.count) for one in late.tallies] == [("helpful", 1)]


async def test_what_a_chat_model_wrote_and_took_is_counted(
    database: Database, clock: Clock
) -> None:
    began = clock()
    for number, change in enumerate(["", "written", "written"]):
        await take(database, clock, number, change)
    found = await ReportStore(database).counted(began - HOUR, began + HOUR)
    assert {one.what: one.count for one in found.tallies} == {
        "answer": 3,
        "written": 2,
        "tokens": 1440,
    }


async def test_what_lies_outside_of_the_span_is_not_counted(
    database: Database, clock: Clock
) -> None:
    began = clock()
    await take(database, clock, 1, "handoff")
    after = await ReportStore(database).counted(began + HOUR, began + 2 * HOUR)
    before = await ReportStore(database).counted(began - 2 * HOUR, began - HOUR)
    assert [*after.tallies, *before.tallies, *after.cases, *before.cases] == []


async def test_a_report_says_when_there_is_more_than_it_counts(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CASES", 1)
    began = clock()
    await take(database, clock, 1, "handoff")
    found = await ReportStore(database).counted(began - HOUR, began + HOUR)
    assert not found.is_complete
