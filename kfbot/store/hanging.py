"""Which of a customer's messages an answer hangs under, where that is not plain to see, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kfbot.messages import ButtonPressed, MessageEdited, MessageReceived
from kfbot.store import tables
from kfbot.store.work import StoredEvent

#: A turn whose button is pressed is looked for among so many messages.
LOOKED_AT = 100

_message, _button = tables.message.c, tables.button.c
_later = tables.message.alias("later").c
# Made once: to put a statement together costs more than to run it.
_IS_APART = sa.select(
    sa.exists()
    .where(
        _message.conversation_id == sa.bindparam("conversation"),
        _message.event_id == sa.bindparam("event"),
        _message.role == "customer",
        sa.exists().where(
            _later.conversation_id == _message.conversation_id, _later.id > _message.id
        ),
    )
    .label("is_apart")
)
_newest = (
    sa.select(_message.id, _message.platform_id, _message.turn_id, _message.role)
    .where(_message.conversation_id == sa.bindparam("conversation"))
    .order_by(_message.id.desc())
    .limit(LOOKED_AT)
    .subquery()
    .c
)
_ASKED_BEFORE = (
    sa.select(_newest.platform_id)
    .join(tables.button, _button.turn_id == _newest.turn_id)
    .where(_button.token == sa.bindparam("token"), _newest.role == "customer")
    .order_by(_newest.id.desc())
    .limit(1)
)


def hangs_under(
    connection: sa.Connection, conversation_id: int, events: Sequence[StoredEvent]
) -> str | None:
    """The platform's id of the message that `events` are answered under; None: under none.

    In a group that is what was asked, with a press too. Between two people an answer that stands
    right below its question needs nothing; one to an edit, or one that comes when more was said
    since, does.
    """
    written = [one.event for one in events if isinstance(one.event, MessageReceived)]
    event = written[-1] if written else events[-1].event
    if isinstance(event, MessageEdited):
        return event.message_id if event.sender.role == "customer" else None
    if isinstance(event, ButtonPressed) and event.in_group:
        asked = {"conversation": conversation_id, "token": event.token}
        found: str | None = connection.execute(_ASKED_BEFORE, asked).scalar_one_or_none()
        return found
    if not isinstance(event, MessageReceived) or event.sender.role != "customer":
        return None
    if event.in_group:
        return event.message_id
    asked = {"conversation": conversation_id, "event": event.event_id}
    return event.message_id if connection.execute(_IS_APART, asked).scalar_one() else None
