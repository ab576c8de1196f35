"""What is due for an open case: notices to who waits, and limits of patience; pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kfbot.conversation import Case, Conversation, State
from kfbot.handoff.settings import HandoffSettings

Action = Literal["notice", "gave_up", "closed", "missed", "requeue", "hand_back"]

#: Every open case is looked at so often, whatever the settings were when it was looked at last.
LONGEST = timedelta(hours=1)
#: Whether an agent who was given a case is still there is looked at so often.
WATCHED = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An open case, and when somebody last did something about it."""

    conversation: Conversation
    case: Case
    due_at: datetime
    noticed_at: datetime | None = None
    claimed_at: datetime | None = None
    #: The customer wrote; None: nobody knows when.
    customer_at: datetime | None = None
    #: What the customer wrote last wants an answer.
    asks: bool = True
    #: An agent wrote to the customer.
    agent_at: datetime | None = None
    #: The agent to whom the case was given is at the desk.
    is_assignee_there: bool = True

    @property
    def since(self) -> datetime:
        """When the customer began to wait for somebody to claim the case."""
        return self.case.waiting_since or self.case.opened_at


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about a case now, and when to look at it again."""

    action: Action | None
    due_at: datetime
    #: How many notices the customer has had, this one included.
    notices: int


def next_step(standing: Standing, rules: HandoffSettings, now: datetime) -> Step:
    """The one thing that is due for a case, if anything is."""
    if standing.conversation.state is State.AGENT:
        return _with_agent(standing, rules, now)
    if standing.conversation.state is State.WAITING:
        return _waiting(standing, rules, now)
    return Step(None, now + LONGEST, standing.case.notices)


def nobody_comes(case: Case, rules: HandoffSettings, now: datetime) -> bool:
    """True while the customer waits, but not for somebody who may write at any moment.

    Then the bot may answer what it knows, until an agent claims the case.
    """
    last = last_notice(rules)
    has_given_up = last is not None and case.notices >= last
    return has_given_up or not rules.business_hours.is_open(now)


def last_notice(rules: HandoffSettings) -> int | None:
    """Who has had so many notices knows that nobody comes; None: nobody is ever told so."""
    return len(_notices(rules)) + 1 if rules.give_up_after_minutes else None


def _waiting(standing: Standing, rules: HandoffSettings, now: datetime) -> Step:
    told = standing.case.notices
    if (missed := _missed_at(standing, rules, now)) is not None and missed <= now:
        return Step("missed", now, told)
    closing = _closing(standing, rules)
    is_open = rules.business_hours.is_open(now)
    if closing is not None and closing <= now and not is_open:
        return Step("closed", now, told)
    schedule = _schedule(standing, rules)
    overdue = [place for place, at in enumerate(schedule) if at is not None and at <= now]
    if overdue and overdue[-1] >= told and is_open:
        place = overdue[-1]
        gives_up = rules.give_up_after_minutes and place == len(schedule) - 1
        return Step("gave_up" if gives_up else "notice", now, place + 1)
    times = [closing if closing is not None and closing > now else None, missed]
    times += [at if at is None or at > now else None for at in schedule[told:]]
    if not is_open:
        times.append(rules.business_hours.opens_at(now))
    return Step(None, _soonest(times, now), told)


def _schedule(standing: Standing, rules: HandoffSettings) -> list[datetime | None]:
    """When each notice is due, in hours when somebody is there; giving up comes last."""
    minutes = _notices(rules)
    if rules.give_up_after_minutes:
        minutes = [*minutes, rules.give_up_after_minutes]
    hours = rules.business_hours
    return [hours.after(standing.since, timedelta(minutes=one)) for one in minutes]


def _notices(rules: HandoffSettings) -> list[float]:
    """Notices after the customer was told that nobody comes would only be a nuisance."""
    last = rules.give_up_after_minutes
    return sorted(one for one in set(rules.notice_after_minutes) if not last or one < last)


def _closing(standing: Standing, rules: HandoffSettings) -> datetime | None:
    """When the hours end in which the customer began to wait, unless the customer knows it.

    Of later closings nothing is said: who waits for days is not told so every evening.
    """
    hours = rules.business_hours
    if not hours.is_open(standing.since):
        return None
    closing = hours.closes_at(standing.since)
    noticed_at = standing.noticed_at
    if closing is None or (noticed_at is not None and noticed_at >= closing):
        return None
    return closing


def _missed_at(standing: Standing, rules: HandoffSettings, now: datetime) -> datetime | None:
    """When the agent to whom the case was given has had long enough to claim it."""
    given_at = standing.case.assigned_at
    if standing.case.assigned_to is None or given_at is None:
        return None
    if not standing.is_assignee_there:
        return now
    missed = given_at + timedelta(seconds=rules.claim_within_seconds)
    return missed if missed <= now else min(missed, now + WATCHED)


def _with_agent(standing: Standing, rules: HandoffSettings, now: datetime) -> Step:
    claimed_at = standing.claimed_at or standing.case.opened_at
    told = standing.case.notices
    silent_since = _silent_since(standing, claimed_at)
    if silent_since is not None:
        patience = timedelta(minutes=rules.agent_silent_minutes)
        at = rules.business_hours.after(silent_since, patience) if patience else None
        action: Action = "requeue"
    else:
        written = (one for one in (standing.agent_at, standing.customer_at) if one is not None)
        patience = timedelta(minutes=rules.hand_back_after_minutes)
        at = max(claimed_at, *written) + patience if patience else None
        action = "hand_back"
    if at is not None and at <= now:
        return Step(action, now, told)
    # Somebody may write at any moment, and what is due then is not due before.
    limits = (rules.agent_silent_minutes, rules.hand_back_after_minutes)
    times = [at, *(now + timedelta(minutes=one) for one in limits if one)]
    return Step(None, _soonest(times, now), told)


def _silent_since(standing: Standing, claimed_at: datetime) -> datetime | None:
    """Since when the customer waits for the agent's answer; None: it is not the agent's turn."""
    asked_at, answered_at = standing.customer_at, standing.agent_at
    if asked_at is None or not standing.asks:
        return None
    if answered_at is not None and answered_at > asked_at:
        return None
    return max(asked_at, claimed_at)


def _soonest(times: list[datetime | None], now: datetime) -> datetime:
    return min(one for one in (*times, now + LONGEST) if one is not None)
