"""Takes inbound events into inbox, transcript and lane, all in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.admin.commands import parse
from kfbot.cases.posts import goes_to_customer
from kfbot.conversation import State
from kfbot.errors import ConversationChanged
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OwnershipChanged,
)
from kfbot.store import tables
from kfbot.store.case_steps import claim_case
from kfbot.store.conversations import (
    add_conversation,
    address_of,
    change_owner,
    get_conversation,
)
from kfbot.store.erasure import refuse_erased
from kfbot.store.events import encode_event, type_of
from kfbot.store.help_desk import follow, tell_taken
from kfbot.store.lanes import set_ready
from kfbot.store.manners import remember_heard
from kfbot.store.notices import LANE, chat_notice, conversation_notice, notify


@dataclass(frozen=True, slots=True)
class Accepted:
    """An inbound event that is in the inbox."""

    inbox_id: int
    conversation_id: int
    #: True where it was there before.
    repeated: bool


_Key = tuple[str, str]
#: The name of a channel, and the platform's id of a chat.
Chat = tuple[str, str]

_inbox, _customers = tables.inbox.c, tables.customer.c
_alias, _lane = tables.conversation_alias.c, tables.lane.c
# Made once: to put a statement together costs more than to run it. Lists are compared column by
# column: for a list of tuples alone SQLite reads the whole table.
_KNOWN = sa.select(_inbox.id, _inbox.conversation_id, _inbox.channel, _inbox.event_id).where(
    _inbox.channel.in_(sa.bindparam("channels", expanding=True)),
    _inbox.event_id.in_(sa.bindparam("events", expanding=True)),
)
_CONVERSATIONS = (
    sa.select(
        _alias.channel, _alias.chat, _alias.thread, _alias.member, _alias.conversation_id,
        sa.and_(
            _lane.owner.is_(None),
            sa.or_(_lane.ready_at.is_(None), _lane.ready_at > sa.bindparam("now")),
        ).label("is_idle"),
    )
    .join_from(
        tables.conversation_alias, tables.lane,
        _lane.conversation_id == _alias.conversation_id, isouter=True,
    )
    .where(
        sa.tuple_(_alias.channel, _alias.chat, _alias.thread, _alias.member).in_(
            sa.bindparam("addresses", expanding=True)
        ),
        _alias.channel.in_(sa.bindparam("channels", expanding=True)),
        _alias.chat.in_(sa.bindparam("chats", expanding=True)),
    )
)  # fmt: skip
_CUSTOMERS = sa.select(_customers.id, _customers.channel, _customers.platform_user).where(
    _customers.channel.in_(sa.bindparam("channels", expanding=True)),
    _customers.platform_user.in_(sa.bindparam("users", expanding=True)),
)
_ADD_CUSTOMERS = tables.customer.insert().returning(
    _customers.id, _customers.channel, _customers.platform_user
)
_ADD_EVENTS = tables.inbox.insert().returning(
    _inbox.id, _inbox.conversation_id, _inbox.channel, _inbox.event_id
)
_ADD_MESSAGES = tables.message.insert()


def accept_all(
    connection: sa.Connection,
    events: Sequence[InboundEvent],
    now: datetime,
    limited: Collection[str] = (),
    agents_chats: Collection[Chat] = (),
) -> list[Accepted]:
    """Store the events that are new, in their order; repeated ones are only recognised.

    An agent's claim takes effect at once: it must not wait for a running turn of the bot.

    Args:
        limited: Channels whose customers' messages are counted.
        agents_chats: No customers write there, and no transcript is kept of what is said.

    Raises:
        ConversationChanged: Of one of them the conversation was erased at this moment; the same
            again makes a new one.
    """
    known = _known(connection, [_key(event) for event in events])
    new = list({_key(event): event for event in events if _key(event) not in known}.values())
    if not new:
        return [known[_key(event)] for event in events]
    writers = _ensure_customers(connection, new, now)
    conversations = _ensure_conversations(connection, new, now, agents_chats, writers)
    # Before the rows: their order is the order of the commits of a conversation.
    set_ready(connection, conversations.values(), now)
    refuse_erased(connection, conversations.values())
    stored = _write_inbox(connection, new, conversations, now)
    customers = [event for event in new if _chat(event) not in agents_chats]
    _write_transcript(connection, customers, conversations, writers, now)
    remember_heard(
        connection, ((event, stored[_key(event)].inbox_id) for event in customers), limited
    )
    for event in new:
        accepted = stored[_key(event)]
        notify(connection, conversation_notice(accepted.conversation_id))
        if _chat(event) in agents_chats:
            _claim_case(connection, accepted, event, now)
        elif (agent := _claiming(event)) is not None:
            is_taken = _claim(connection, accepted, agent, now)
            if is_taken and isinstance(event, MessageReceived):
                tell_taken(connection, accepted.conversation_id, event, now)
        elif isinstance(event, MessageReceived) and event.owner is not None:
            follow(connection, accepted.conversation_id, event.owner, now)
    results = []
    for event in events:
        accepted = known.get(_key(event)) or stored[_key(event)]
        results.append(accepted)
        # What came twice in one group is new only once.
        known[_key(event)] = replace(accepted, repeated=True)
    return results


def _chat(event: InboundEvent) -> Chat:
    return event.conversation.channel, event.conversation.chat


def _claim_case(
    connection: sa.Connection, accepted: Accepted, event: InboundEvent, now: datetime
) -> None:
    """Silence the bot where an agent writes to its customer; the words go when it is their turn."""
    if not isinstance(event, MessageReceived) or event.sender.role != "agent":
        return
    if goes_to_customer(event.text):
        claim_case(connection, accepted.conversation_id, event, now)


def _key(event: InboundEvent) -> _Key:
    return event.conversation.channel, event.event_id


def _known(connection: sa.Connection, keys: Sequence[_Key]) -> dict[_Key, Accepted]:
    """What is in the inbox of these events, and perhaps of their like on other channels."""
    channels, events = _columns(keys)
    rows = connection.execute(_KNOWN, {"channels": channels, "events": events})
    return {
        (row.channel, row.event_id): Accepted(row.id, row.conversation_id, repeated=True)
        for row in rows
    }


def _columns(keys: Iterable[tuple[str, ...]]) -> list[list[str]]:
    """The values of each column, once."""
    return [list(dict.fromkeys(column)) for column in zip(*keys, strict=True)]


def _ensure_conversations(
    connection: sa.Connection,
    events: Sequence[InboundEvent],
    now: datetime,
    agents_chats: Collection[Chat],
    customers: Mapping[_Key, int],
) -> dict[ConversationId, int]:
    """The conversations of events; those that are new are made. Tells if a lane gets ready."""
    addresses = {(e.channel, e.chat, e.thread or "", e.member or "") for e in _addresses(events)}
    channels, chats, *_ = _columns(addresses)
    rows = connection.execute(
        _CONVERSATIONS,
        {"addresses": list(addresses), "channels": channels, "chats": chats, "now": now},
    ).all()
    found = {address_of(row): row.conversation_id for row in rows}
    if len(found) < len(addresses) or any(row.is_idle for row in rows):
        notify(connection, LANE)
    for event in events:
        if event.conversation not in found:
            customer_id = customers.get(_customer(event) or ("", ""))
            state = State.THREAD if _chat(event) in agents_chats else State.BOT
            found[event.conversation] = add_conversation(
                connection, event.conversation, now, customer_id, state
            )
            notify(connection, chat_notice(event.conversation))
    return found


def _addresses(events: Iterable[InboundEvent]) -> Iterable[ConversationId]:
    return (event.conversation for event in events)


def _customer(event: InboundEvent) -> _Key | None:
    if isinstance(event, MessageReceived) and event.sender.role == "customer":
        return event.conversation.channel, event.sender.id
    return None


def _ensure_customers(
    connection: sa.Connection, events: Sequence[InboundEvent], now: datetime
) -> dict[_Key, int]:
    """The customers who wrote; those who are new are made."""
    names = {
        key: event.sender.display_name
        for event in events
        if isinstance(event, MessageReceived) and (key := _customer(event)) is not None
    }
    if not names:
        return {}
    channels, users = _columns(names)
    rows = connection.execute(_CUSTOMERS, {"channels": channels, "users": users}).all()
    missing = names.keys() - {(row.channel, row.platform_user) for row in rows}
    if missing:
        values = [
            {"channel": channel, "platform_user": user, "display_name": names[channel, user],
             "created_at": now}
            for channel, user in sorted(missing)
        ]  # fmt: skip
        rows = [*rows, *connection.execute(_ADD_CUSTOMERS, values)]
    return {(row.channel, row.platform_user): row.id for row in rows}


def _write_inbox(
    connection: sa.Connection,
    events: Sequence[InboundEvent],
    conversations: dict[ConversationId, int],
    now: datetime,
) -> dict[_Key, Accepted]:
    rows = connection.execute(
        _ADD_EVENTS,
        [
            {
                "channel": event.conversation.channel,
                "event_id": event.event_id,
                "conversation_id": conversations[event.conversation],
                "payload": encode_event(event),
                "received_at": now,
            }
            for event in events
        ],
    )
    return {
        (row.channel, row.event_id): Accepted(row.id, row.conversation_id, repeated=False)
        for row in rows
    }


def _claiming(event: InboundEvent) -> str | None:
    """The agent who takes the conversation by this event."""
    if isinstance(event, OwnershipChanged) and event.change == "claimed":
        return event.agent.display_name or event.agent.id
    if isinstance(event, MessageReceived) and event.sender.role == "agent":
        return event.sender.display_name or event.sender.id
    return None


def _claim(connection: sa.Connection, accepted: Accepted, agent: str, now: datetime) -> bool:
    """True where the conversation was nobody's or the bot's, and is the agent's now."""
    inbox = tables.inbox
    earlier = connection.execute(
        sa.select(inbox.c.payload).where(
            inbox.c.conversation_id == accepted.conversation_id,
            tables.is_waiting,
            inbox.c.id < accepted.inbox_id,
        )
    )
    if any(type_of(payload) == OwnershipChanged.__name__ for payload in earlier.scalars()):
        # Behind a handback that is still to be worked on it has to wait its turn.
        return False
    before = after = get_conversation(connection, accepted.conversation_id)
    # Another agent was first: the event is over all the same.
    with suppress(ConversationChanged):
        after = change_owner(connection, before.id, "claim", agent=agent, now=now)
    connection.execute(inbox.update().where(inbox.c.id == accepted.inbox_id).values(state="done"))
    return after.ownership_epoch != before.ownership_epoch


def _write_transcript(
    connection: sa.Connection,
    events: Sequence[InboundEvent],
    conversations: dict[ConversationId, int],
    writers: Mapping[_Key, int],
    now: datetime,
) -> None:
    message = tables.message
    said: list[dict[str, Any]] = []
    for event in events:
        conversation_id = conversations[event.conversation]
        if isinstance(event, MessageReceived):
            writer = writers.get(_customer(event) or ("", ""))
            said.append(_message_values(event, conversation_id, writer, now))
        elif isinstance(event, ButtonPressed):
            said += _press_values(connection, event, conversation_id, now)
        elif isinstance(event, MessageEdited | MessageDeleted):
            # What is edited may be in the same group.
            said = _written(connection, said)
            connection.execute(
                message.update()
                .where(
                    message.c.conversation_id == conversation_id,
                    message.c.platform_id == event.message_id,
                    message.c.role != "bot",
                )
                .values(text=event.text if isinstance(event, MessageEdited) else "")
            )
    _written(connection, said)


def _written(connection: sa.Connection, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if said:
        connection.execute(_ADD_MESSAGES, said)
    return []


def _message_values(
    event: MessageReceived, conversation_id: int, customer_id: int | None, now: datetime
) -> dict[str, Any]:
    attachments = [
        {"url": file.url, "media_type": file.media_type, "name": file.name}
        for file in event.attachments
    ]
    return {
        "conversation_id": conversation_id,
        "role": event.sender.role,
        "sender_name": event.sender.display_name,
        "kind": "command" if _is_command(event) else "message",
        "text": event.text,
        "extras": {"attachments": attachments} if attachments else {},
        "platform_id": event.message_id,
        "event_id": event.event_id,
        "customer_id": customer_id,
        "created_at": now,
    }


def _is_command(event: MessageReceived) -> bool:
    return event.sender.role == "customer" and parse(event.text) is not None


def _press_values(
    connection: sa.Connection, event: ButtonPressed, conversation_id: int, now: datetime
) -> list[dict[str, Any]]:
    """A choice, or the wish for a person, is what the customer says; feedback is not."""
    button = tables.button.c
    label = connection.execute(
        sa.select(button.label).where(
            button.token == event.token,
            button.conversation_id == conversation_id,
            button.action.in_(("choice", "person")),
        )
    ).scalar_one_or_none()
    if label is None:
        return []
    return [
        {
            "conversation_id": conversation_id,
            "role": "customer",
            "sender_name": "",
            "kind": "message",
            "text": label,
            "extras": {},
            "platform_id": event.message_id,
            "event_id": event.event_id,
            # The words are the operator's.
            "customer_id": None,
            "created_at": now,
        }
    ]
