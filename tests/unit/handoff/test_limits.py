"""What is due for an open case, and when it is looked at again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.conversation import Case, Conversation, State
from kfbot.handoff.limits import LONGEST, Standing, next_step, nobody_comes
from kfbot.handoff.settings import HandoffSettings
from kfbot.messages import ConversationId

#: A Monday.
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
CASE = Case(id=1, conversation_id=1, reason="unsure", question="", opened_at=START)


def standing(state: State = State.WAITING, **fields: Any) -> Standing:
    own = {key: fields.pop(key) for key in tuple(fields) if key in Case.__dataclass_fields__}
    conversation = Conversation(id=1, address=ConversationId("shop", "1"), state=state)
    return Standing(conversation=conversation, case=replace(CASE, **own), due_at=START, **fields)


def after(**by: float) -> datetime:
    return START + timedelta(**by)


def test_notices_come_in_their_order_and_the_last_one_gives_up() -> None:
    rules = HandoffSettings(notice_after_minutes=(10, 2, 99), give_up_after_minutes=15)
    waiting = standing()
    assert next_step(waiting, rules, after(minutes=1)).due_at == after(minutes=2)
    told = [
        (step.action, step.notices)
        for minutes, notices in ((2, 0), (9, 1), (10, 1), (14, 2), (15, 2), (200, 3))
        if (step := next_step(standing(notices=notices), rules, after(minutes=minutes)))
    ]
    assert told == [
        ("notice", 1), (None, 1), ("notice", 2), (None, 2), ("gave_up", 3), (None, 3),
    ]  # fmt: skip


def test_without_any_limit_nothing_is_ever_due() -> None:
    rules = HandoffSettings(notice_after_minutes=(), give_up_after_minutes=0)
    for state in (State.WAITING, State.AGENT):
        step = next_step(standing(state, claimed_at=START), rules, after(days=30))
        assert (step.action, step.due_at) == (None, after(days=30) + LONGEST)


def test_patience_counts_in_business_hours_alone() -> None:
    rules = HandoffSettings(hours={"mon-fri": ("09:00-09:05",)}, notice_after_minutes=(10,))
    waiting = standing(noticed_at=after(minutes=5))
    assert next_step(waiting, rules, after(hours=5)).action is None
    assert next_step(waiting, rules, after(days=1, minutes=4)).action is None
    # Five minutes today and five tomorrow, when it closes: said at the opening after.
    assert next_step(waiting, rules, after(days=2)).action == "notice"


def test_who_began_to_wait_when_nobody_was_there_is_not_told_of_the_closing() -> None:
    rules = HandoffSettings(hours={"mon": ("10:00-11:00",)}, notice_after_minutes=())
    assert next_step(standing(), rules, after(minutes=1)).action is None
    assert next_step(standing(), rules, after(hours=5)).action is None
    assert next_step(standing(), rules, after(minutes=1)).due_at == after(hours=1)


def test_an_agent_who_went_away_loses_the_case_before_the_time() -> None:
    given: dict[str, Any] = {"assigned_to": "anna", "assigned_at": START}
    rules = HandoffSettings(claim_within_seconds=60)
    assert next_step(standing(**given), rules, after(seconds=59)).action is None
    assert next_step(standing(**given), rules, after(seconds=60)).action == "missed"
    gone = standing(**given, is_assignee_there=False)
    assert next_step(gone, rules, after(seconds=1)).action == "missed"


def test_an_agents_silence_begins_with_the_claim_or_the_customers_words() -> None:
    rules = HandoffSettings(agent_silent_minutes=10)
    claimed = standing(State.AGENT, claimed_at=after(minutes=5), customer_at=START)
    assert next_step(claimed, rules, after(minutes=14)).action is None
    assert next_step(claimed, rules, after(minutes=15)).action == "requeue"
    answered = replace(claimed, agent_at=after(minutes=6))
    assert next_step(answered, rules, after(minutes=60)).action is None
    asked = replace(answered, customer_at=after(minutes=7))
    assert next_step(asked, rules, after(minutes=17)).action == "requeue"
    assert next_step(replace(asked, asks=False), rules, after(minutes=17)).action is None


def test_the_bot_has_it_back_when_nobody_writes_and_nobody_waits() -> None:
    rules = HandoffSettings(hand_back_after_minutes=30)
    quiet = standing(State.AGENT, claimed_at=START, customer_at=START, agent_at=after(minutes=5))
    assert next_step(quiet, rules, after(minutes=34)).action is None
    assert next_step(quiet, rules, after(minutes=35)).action == "hand_back"
    open_question = replace(quiet, customer_at=after(minutes=6))
    assert next_step(open_question, rules, after(hours=9)).action is None


def test_nobody_comes_out_of_hours_and_once_it_was_given_up() -> None:
    always = HandoffSettings(notice_after_minutes=(2,), give_up_after_minutes=15)
    assert not nobody_comes(replace(CASE, notices=1), always, START)
    assert nobody_comes(replace(CASE, notices=2), always, START)
    patient = HandoffSettings(notice_after_minutes=(2,), give_up_after_minutes=0)
    assert not nobody_comes(replace(CASE, notices=9), patient, START)
    office = HandoffSettings(hours={"mon": ("09:00-10:00",)})
    assert not nobody_comes(CASE, office, START)
    assert nobody_comes(CASE, office, after(hours=1))


_RULES = st.builds(
    HandoffSettings,
    hours=st.sampled_from(
        [{}, {"mon-fri": ("09:00-12:00", "13:00-18:00")}, {"sun": ("22:00-02:00",)}]
    ),
    notice_after_minutes=st.lists(st.integers(0, 90), max_size=3).map(tuple),
    give_up_after_minutes=st.integers(0, 90),
    agent_silent_minutes=st.integers(0, 90),
    hand_back_after_minutes=st.integers(0, 90),
)


@pytest.mark.parametrize("state", [State.WAITING, State.AGENT])
@given(
    rules=_RULES,
    ago=st.lists(st.integers(0, 200), min_size=3, max_size=3),
    now=st.integers(0, 9999),
)
def test_what_is_due_is_due_soon_after_the_look_that_was_planned(
    state: State, rules: HandoffSettings, ago: list[int], now: int
) -> None:
    """Nothing is missed between two looks, and no look leads to another at the same time."""
    moment = after(minutes=now)
    times = [moment - timedelta(minutes=one) for one in ago]
    one = standing(
        state, opened_at=min(times), claimed_at=times[0], customer_at=times[1], agent_at=times[2],
        noticed_at=moment,
    )  # fmt: skip
    step = next_step(one, rules, moment)
    if step.action is not None:
        return
    assert moment < step.due_at <= moment + LONGEST
    between = moment + (step.due_at - moment) * 0.99
    assert next_step(one, rules, between).action is None
