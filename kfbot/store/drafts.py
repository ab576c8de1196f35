"""What a customer may have seen of an answer that is still being written: a row a conversation.

The row is written before its text is shown, so that nothing that was shown is unknown; the
commit of what the turn comes to takes it away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.notices import conversation_notice, notify
from kfbot.store.sayings import Saying


@dataclass(frozen=True, slots=True)
class Draft:
    """What was shown."""

    conversation_id: int
    text: str
    platform_ids: tuple[str, ...]
    #: The first of the events that it answers.
    inbox_id: int


_draft = tables.draft.c
# Made once: to put a statement together costs more than to run it.
_TAKE = (
    tables.draft.delete()
    .where(_draft.conversation_id.in_(sa.bindparam("conversations", expanding=True)))
    .returning(_draft.conversation_id, _draft.text, _draft.platform_ids, _draft.inbox_id)
)


def take_drafts(connection: sa.Connection, conversation_ids: Collection[int]) -> dict[int, Draft]:
    """Remove drafts; returns them by conversation."""
    if not conversation_ids:
        return {}
    rows = connection.execute(_TAKE, {"conversations": list(conversation_ids)})
    return {
        row.conversation_id: Draft(
            row.conversation_id, row.text, tuple(row.platform_ids), row.inbox_id
        )
        for row in rows
    }


def close_drafts(
    connection: sa.Connection, conversation_ids: Collection[int], now: datetime
) -> None:
    """No more comes of these drafts: what the customer sees of them are the bot's words."""
    keep_drafts(connection, take_drafts(connection, conversation_ids).values(), now)


def close_drafts_of(connection: sa.Connection, inbox_ids: Sequence[int], now: datetime) -> None:
    """Likewise those that were to answer these events."""
    query = sa.select(_draft.conversation_id).where(_draft.inbox_id.in_(inbox_ids))
    close_drafts(connection, connection.execute(query).scalars().all(), now)


def keep_drafts(
    connection: sa.Connection, drafts: Iterable[Draft], now: datetime, *, internal: bool = False
) -> None:
    """Put what was shown into the transcript.

    Args:
        internal: The customer does not see it any more; agents are to know that they did.
    """
    drafts = list(drafts)
    events = _events_of(connection, drafts)
    rows: list[dict[str, Any]] = [
        {
            "conversation_id": one.conversation_id,
            "role": "bot",
            "sender_name": "",
            "kind": "message",
            "text": one.text,
            "internal": internal,
            "extras": {},
            "platform_id": one.platform_ids[0] if one.platform_ids else None,
            # Whose words it answers: it goes with them.
            "event_id": events.get(one.inbox_id),
            "created_at": now,
        }
        for one in drafts
    ]
    if rows:
        connection.execute(tables.message.insert(), rows)
    for row in rows:
        notify(connection, conversation_notice(row["conversation_id"]))


def _events_of(connection: sa.Connection, drafts: Sequence[Draft]) -> dict[int, str]:
    """The platform's ids of the events that drafts answer."""
    if not drafts:
        return {}
    inbox = tables.inbox.c
    query = sa.select(inbox.id, inbox.event_id).where(
        inbox.id.in_([one.inbox_id for one in drafts])
    )
    return {row.id: row.event_id for row in connection.execute(query)}


def said_instead(
    connection: sa.Connection, draft: Draft | None, saying: Saying, now: datetime
) -> Saying:
    """What is said, in the place of what was shown."""
    if draft is None:
        return saying
    if not saying.words:
        keep_drafts(connection, [draft], now)
        return saying
    if not saying.words[0].text.startswith(draft.text):
        # What has no id stays where the customer sees it.
        is_replaced = bool(draft.platform_ids) or not saying.pushed
        keep_drafts(connection, [draft], now, internal=is_replaced)
    return replace(saying, replaces=draft.platform_ids)
