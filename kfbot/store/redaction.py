"""Takes one customer's words out of a conversation that is others' too; theirs stay.

A mark stands where the words stood, so that what others answered to is still to be seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from kfbot.learning.lessons import one_line
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.erasure import take_away
from kfbot.store.notices import LANE, conversation_notice, notify
from kfbot.store.purge import BATCH

#: What stands where a customer's words stood.
MARK = "[已删除 erased]"
_BLANK: Mapping[str, Any] = {"text": MARK, "extras": {}}
#: Questions by which nothing is known to be the same.
_NO_WORDS = {"", MARK}

_message, _turn, _case = tables.message.c, tables.turn.c, tables.case.c
_conversation, _customer = tables.conversation.c, tables.customer.c
_inbox, _outbox, _lane = tables.inbox.c, tables.outbox.c, tables.lane.c
_event, _delivery = tables.conversation_event.c, tables.event_delivery.c
_proposal, _thread = tables.proposal.c, tables.case_thread.c


def is_shared(number: int, customer_id: int) -> sa.CompoundSelect[Any]:
    """Finds a row where another customer wrote in a conversation too, or owns it."""
    others = sa.select(_message.id).where(
        _message.conversation_id == number,
        _message.customer_id.is_not(None),
        _message.customer_id != customer_id,
    )
    owned = sa.select(_conversation.id).where(
        _conversation.id == number,
        _conversation.customer_id.is_not(None),
        _conversation.customer_id != customer_id,
    )
    return others.union_all(owned).limit(1)


async def redact(database: Database, number: int, customer_id: int, now: datetime) -> int:
    """Replace a customer's words in one conversation, and what the bot answered to them.

    Returns:
        How many of the customer's messages there were.

    Raises:
        StoreUnavailable: Some may be left; again goes on there.
    """
    total = 0
    await _forget_events(database, number, customer_id, now)
    while True:
        found = await database.write(
            lambda c: _redact_some(c, number, customer_id, now), lanes=(number,)
        )
        total += found
        if found < BATCH:
            return total


async def _forget_events(database: Database, number: int, customer_id: int, now: datetime) -> None:
    """Remove what came of a customer, edits and presses too, with the turns that it led to."""
    user = sa.select(_customer.platform_user).where(_customer.id == customer_id)
    name = await database.read(lambda c: c.execute(user).scalar_one())
    after = 0
    while True:
        page = (
            sa.select(_inbox.id, _inbox.event_id, _inbox.payload)
            .where(_inbox.conversation_id == number, _inbox.id > after)
            .order_by(_inbox.id)
            .limit(BATCH)
        )
        rows = await database.read(lambda c, page=page: c.execute(page).all())  # type: ignore[misc]
        if not rows:
            return
        after = rows[-1].id
        if theirs := [row for row in rows if _sender(row.payload) == name]:
            forget = partial(_forget_some, number=number, events=theirs, now=now)
            await database.write(forget, lanes=(number,))


def _forget_some(
    connection: sa.Connection, number: int, events: Sequence[sa.Row[Any]], now: datetime
) -> None:
    _fence(connection, number, now)
    ids, names = [row.id for row in events], [row.event_id for row in events]
    led_to = sa.select(_message.turn_id).where(
        _message.conversation_id == number,
        _message.event_id.in_(names),
        _message.turn_id.is_not(None),
    )
    _redact_answers(connection, number, names)
    turns = set(connection.execute(led_to).scalars())
    _redact_turns(connection, number, _with_like(connection, number, turns, set()))
    connection.execute(tables.heard.delete().where(tables.heard.c.inbox_id.in_(ids)))
    connection.execute(tables.inbox.delete().where(_inbox.id.in_(ids)))


def _fence(connection: sa.Connection, number: int, now: datetime) -> None:
    """Let no turn that is running commit, nor what is shown of it stay: it may have read what is
    taken away in this transaction. It is done again without."""
    again = {"owner": None, "lease_until": None, "epoch": _lane.epoch + 1, "ready_at": now}
    connection.execute(tables.lane.update().where(_lane.conversation_id == number).values(**again))
    connection.execute(tables.draft.delete().where(tables.draft.c.conversation_id == number))
    notify(connection, LANE)


def _redact_answers(connection: sa.Connection, number: int, events: Sequence[str]) -> None:
    """Take the words out of what the bot said to events, half said too."""
    here = sa.and_(_message.conversation_id == number, _message.role == "bot")
    _blank(connection, sa.and_(here, _message.event_id.in_(events)))


def _blank(connection: sa.Connection, said: sa.ColumnElement[bool]) -> None:
    """Take the words out of messages, sent or still to be sent."""
    sent = sa.select(_message.id).where(said)
    connection.execute(tables.outbox.delete().where(_outbox.message_id.in_(sent)))
    connection.execute(tables.message.update().where(said).values(**_BLANK))


def _sender(payload: Any) -> object:
    """The platform's id of who caused an event; None: nobody is named."""
    sender = payload.get("sender") if isinstance(payload, dict) else None
    return sender.get("id") if isinstance(sender, dict) else None


def _redact_some(connection: sa.Connection, number: int, customer_id: int, now: datetime) -> int:
    _fence(connection, number, now)
    theirs = (
        sa.select(_message.id, _message.turn_id, _message.event_id, _message.text)
        .where(_message.conversation_id == number, _is_of(number, customer_id))
        .order_by(_message.id)
        .limit(BATCH)
    )
    rows = connection.execute(theirs).all()
    own_turns = {row.turn_id for row in rows if row.turn_id is not None}
    turns = _with_like(connection, number, own_turns, {row.text for row in rows})
    events = [row.event_id for row in rows if row.event_id is not None]
    _redact_turns(connection, number, turns)
    _redact_answers(connection, number, events)
    _forget_lessons(connection, number, [row.text for row in rows])
    own = _message.id.in_([row.id for row in rows])
    connection.execute(
        tables.message.update()
        .where(own)
        .values(sender_name="", customer_id=None, platform_id=None, event_id=None, **_BLANK)
    )
    said = sa.and_(_inbox.conversation_id == number, _inbox.event_id.in_(events))
    ids = sa.select(_inbox.id).where(said)
    connection.execute(tables.heard.delete().where(tables.heard.c.inbox_id.in_(ids)))
    connection.execute(tables.inbox.delete().where(said))
    if len(rows) < BATCH:
        # Together with the last words: without any nobody would find the conversation again.
        _close(connection, number, customer_id, now)
    return len(rows)


def _with_like(
    connection: sa.Connection, number: int, turns: set[int], texts: set[str]
) -> list[int]:
    """Turns, and those with the same question, or these texts for one: who asked for a person, by
    a button or after them, was taken to ask what they had asked."""
    questions = sa.select(_turn.question).where(_turn.id.in_(turns))
    asked = texts | set(connection.execute(questions).scalars())
    like = sa.select(_turn.id).where(
        _turn.conversation_id == number, _turn.question.in_(asked - _NO_WORDS)
    )
    return sorted(turns | set(connection.execute(like).scalars()))


def _is_of(number: int, customer_id: int) -> sa.ColumnElement[bool]:
    """Of a message: the customer wrote it. What nobody is known to have written, before that was
    kept, counts as the owner's."""
    owner = sa.select(_conversation.customer_id).where(_conversation.id == number)
    unknown = sa.and_(
        _message.customer_id.is_(None),
        _message.role == "customer",
        _message.text != MARK,
        # The words of a button are the operator's.
        _message.sender_name != "",
        owner.scalar_subquery() == customer_id,
    )
    return sa.or_(_message.customer_id == customer_id, unknown)


def _redact_turns(connection: sa.Connection, number: int, turns: Sequence[int]) -> None:
    """Take the words out of turns, of the answers, and of what was made of them."""
    _blank(connection, sa.and_(_message.turn_id.in_(turns), _message.role == "bot"))
    found = sa.select(_turn.id, _turn.question, _turn.data).where(_turn.id.in_(turns))
    rows = connection.execute(found).all()
    asked = {row.question for row in rows} - _NO_WORDS
    cases = sa.and_(_case.conversation_id == number, _case.question.in_(asked))
    of_cases = sa.select(_case.id).where(cases)
    learnt = sa.or_(_proposal.case_id.in_(of_cases), _proposal.turn_id.in_(turns))
    undecided = sa.and_(learnt, _proposal.state != "approved")
    connection.execute(tables.proposal.delete().where(undecided))
    kept = tables.proposal.update().where(learnt)
    connection.execute(kept.values(case_id=None, turn_id=None))
    blank = {"question": MARK, "draft": "", "passages": [], "summary": {}}
    connection.execute(tables.case.update().where(cases).values(**blank))
    _untell(connection, number, asked)
    connection.execute(tables.button.delete().where(tables.button.c.turn_id.in_(turns)))
    for row in rows:
        shown = {"question": MARK, "text": MARK, "context": "", "choices": [], "citations": []}
        data = {**row.data, **shown}
        change = tables.turn.update().where(_turn.id == row.id)
        connection.execute(change.values(question=MARK, data=data, evidence={}))


def _untell(connection: sa.Connection, number: int, questions: set[str]) -> None:
    """Remove what other systems were told of these questions, or were still to be told."""
    asked = sa.or_(
        _event.data["question"].as_string().in_(questions),
        _event.data["case", "question"].as_string().in_(questions),
    )
    # Locked: deliveries that are being made of them are seen next.
    found = sa.select(_event.uid).where(_event.conversation_id == number, asked).with_for_update()
    uids = connection.execute(found).scalars().all()
    connection.execute(tables.event_delivery.delete().where(_delivery.event_uid.in_(uids)))
    connection.execute(tables.conversation_event.delete().where(_event.uid.in_(uids)))


def _unname(connection: sa.Connection, number: int, user: str) -> None:
    """Have nothing that other systems were told, or are to be told, name this customer."""
    here = _event.conversation_id == number
    # As above. What is made of them later finds no name.
    new = sa.select(_event.id).where(here, _event.state == "new").with_for_update()
    connection.execute(new).all()
    told = sa.select(_delivery.id, _delivery.body).where(
        _delivery.event_uid.in_(sa.select(_event.uid).where(here))
    )
    for row in connection.execute(told).all():
        body = json.loads(row.body)
        place = body["data"]["conversation"]
        if place["customer"]["id"] == user:
            place["customer"] = {"id": None, "name": ""}
            unnamed = tables.event_delivery.update().where(_delivery.id == row.id)
            connection.execute(unnamed.values(body=json.dumps(body, ensure_ascii=False)))


def _forget_lessons(connection: sa.Connection, number: int, texts: Sequence[str]) -> None:
    """Remove what others' cases made of a customer's words, and nobody approved: who asks for a
    person is taken to ask what was asked before."""
    cases = sa.select(_case.id).where(_case.conversation_id == number)
    made = _proposal.question.in_({one_line(text) for text in texts})
    undecided = sa.and_(_proposal.case_id.in_(cases), made, _proposal.state != "approved")
    connection.execute(tables.proposal.delete().where(undecided))


def _close(connection: sa.Connection, number: int, customer_id: int, now: datetime) -> None:
    """Remove what is left of the customer beside the transcript."""
    name = sa.select(_customer.platform_user).where(_customer.id == customer_id)
    user = connection.execute(name).scalar_one()
    memory = tables.action_memory.c
    connection.execute(
        tables.action_memory.delete().where(
            memory.conversation_id == number, memory.customer == user
        )
    )
    _unname(connection, number, user)
    connection.execute(
        tables.conversation.update()
        .where(_conversation.id == number, _conversation.customer_id == customer_id)
        .values(customer_id=None)
    )
    # They are made of what all wrote; of an open case another one is made.
    summaries = tables.case.update().where(_case.conversation_id == number)
    connection.execute(summaries.values(summary={}))
    # So are the bot's notes to agents of a help desk, which belong to no turn.
    notes = sa.and_(
        _message.conversation_id == number, _message.role == "bot", _message.kind == "message",
        _message.internal.is_(True), _message.event_id.is_(None),
    )  # fmt: skip
    _blank(connection, notes)
    notify(connection, conversation_notice(number))
    # They show what was said, in the chats of the agents.
    cases = sa.select(_case.id).where(_case.conversation_id == number)
    shown = sa.select(_thread.conversation_id).where(_thread.case_id.in_(cases))
    for thread in connection.execute(shown).scalars().all():
        take_away(connection, thread, now)
    connection.execute(tables.case_thread.delete().where(_thread.case_id.in_(cases)))
