"""Chats in which agents see cases, in SQL: nobody in them is a customer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from kfbot.cases.posts import CLOSED
from kfbot.conversation import State
from kfbot.store import tables

_thread, _alias = tables.case_thread.c, tables.conversation_alias.c
_outbox = tables.outbox.c

#: Of a thread: it does not show its case as closed. To the letter of the partial index: with a
#: bound value SQLite would not use it.
is_unfinished = _thread.shown_state != sa.literal_column(f"'{CLOSED}'")


@dataclass(frozen=True, slots=True)
class AgentsChat:
    """A chat in which agents see cases."""

    channel: str
    #: The platform's id.
    chat: str
    #: Whose cases; empty: those of all channels.
    channels: tuple[str, ...] = ()

    def shows(self, channel: str) -> bool:
        """True where the cases of a channel are shown in it."""
        return not self.channels or channel in self.channels


def adopt(connection: sa.Connection, chats: Iterable[AgentsChat]) -> None:
    """Nobody in these chats is a customer any more; what is with agents stays with them.

    Open cases that were shown in another chat of the same channel begin anew in this one.
    """
    conversation = tables.conversation
    bots = conversation.c.state.in_((str(State.BOT), str(State.CLOSED)))
    for one in chats:
        here = sa.select(_alias.conversation_id).where(
            _alias.channel == one.channel, _alias.chat == one.chat
        )
        ours = conversation.update().where(conversation.c.id.in_(here), bots)
        connection.execute(ours.values(state=str(State.THREAD)))
        _leave_other_chats(connection, one)


def _leave_other_chats(connection: sa.Connection, chat: AgentsChat) -> None:
    """Forget the threads that a channel's cases have where its agents are no longer."""
    query = (
        sa.select(_thread.conversation_id)
        .join_from(
            tables.case_thread, tables.conversation_alias,
            _alias.conversation_id == _thread.conversation_id,
        )
        .where(
            _thread.channel == chat.channel, is_unfinished,
            _alias.current.is_(True), _alias.chat != chat.chat,
        )
    )  # fmt: skip
    left = list(connection.execute(query).scalars())
    connection.execute(tables.case_thread.delete().where(_thread.conversation_id.in_(left)))
    # What waits there was to be written for the thread, and would be sent for ever.
    unsent = sa.and_(_outbox.conversation_id.in_(left), tables.is_unsent)
    connection.execute(tables.outbox.update().where(unsent).values(state="cancelled"))
