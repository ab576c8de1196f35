"""Commits what a turn led to, in one fenced transaction: inbox, turn, state, case, outbox."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.adapter import Capabilities
from kfbot.conversation import Case, Conversation, Turn
from kfbot.errors import ConversationChanged
from kfbot.messages import Button, ConversationId, OutboundKind, OutboundMessage, Sender
from kfbot.shaping import shape, split
from kfbot.store import tables
from kfbot.store.conversations import (
    OwnerChange,
    add_address,
    change_owner,
    find_conversation_id,
    find_open_case,
    get_conversation,
    open_case,
    save_conversation,
)
from kfbot.store.engine import Database
from kfbot.store.events import encode_message, storable
from kfbot.store.lanes import Lane, check_lane, set_ready
from kfbot.store.messages import StoredEvent
from kfbot.turn import NewButton, Outcome, Reply

#: A button works this long.
BUTTON_LIFE = timedelta(days=30)


class OutcomeStore:
    """Writes the results of turns and the words of agents."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def commit(
        self,
        lane: Lane,
        events: Sequence[StoredEvent],
        outcome: Outcome,
        capabilities: Capabilities,
    ) -> Case | None:
        """Finish `events` with `outcome`; returns the case that it opened.

        If an agent took the conversation meanwhile, the events are finished all the same,
        but nothing of what the bot wanted to say or change.

        Raises:
            ConversationChanged: Another worker has the lane; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """

        async def operation(connection: AsyncConnection) -> Case | None:
            await check_lane(connection, lane)
            now = self._clock()
            await _finish(connection, events)
            current = await get_conversation(connection, lane.conversation_id)
            if current.ownership_epoch != outcome.before.ownership_epoch:
                return None
            return await _apply(connection, events, outcome, capabilities, now)

        return await self._database.write(operation)

    async def give_up(self, events: Sequence[StoredEvent]) -> None:
        """Mark events as dead: they will not be worked on again unless an operator says so."""

        async def operation(connection: AsyncConnection) -> None:
            await _finish(connection, events, state="dead")

        await self._database.write(operation)

    async def agent_says(
        self,
        conversation_id: int,
        agent: str,
        text: str,
        *,
        internal: bool = False,
        pushed: bool,
        text_length: int | None = None,
    ) -> int:
        """Store an agent's words, to be sent unless internal; the agent claims by writing.

        Args:
            pushed: False where the channel's side fetches messages by itself.
            text_length: Longer texts go in parts; None: there is no limit.

        Returns:
            The id of the message, or of its last part.

        Raises:
            ConversationChanged: Another agent has the conversation.
        """

        async def operation(connection: AsyncConnection) -> int:
            now = self._clock()
            conversation = await get_conversation(connection, conversation_id)
            if not internal:
                conversation = await change_owner(
                    connection, conversation_id, "claim", agent=agent, now=now
                )
            whole = storable(text)
            parts = [whole] if text_length is None or internal else split(whole, text_length)
            ids = [
                await _say(
                    connection, conversation, part, sender=Sender(agent, "agent", agent),
                    internal=internal, pushed=pushed and not internal, now=now,
                )
                for part in parts
            ]  # fmt: skip
            return ids[-1]

        return await self._database.write(operation)

    async def change_owner(
        self,
        conversation_id: int,
        change: OwnerChange,
        *,
        agent: str,
        notice: str,
        pushed: bool,
    ) -> Conversation:
        """Let an agent claim, hand back or resolve; it never waits for a running turn.

        `notice`, if any, is told to the customer.

        Raises:
            ConversationChanged: Somebody else was first.
        """

        async def operation(connection: AsyncConnection) -> Conversation:
            now = self._clock()
            after = await change_owner(connection, conversation_id, change, agent=agent, now=now)
            if notice:
                kind: OutboundKind = "handback" if change == "hand_back" else "resolved"
                await _say(connection, after, notice, kind=kind, pushed=pushed, now=now)
            return after

        return await self._database.write(operation)


async def _apply(
    connection: AsyncConnection,
    events: Sequence[StoredEvent],
    outcome: Outcome,
    capabilities: Capabilities,
    now: datetime,
) -> Case | None:
    after, opened = outcome.after, None
    if outcome.owner_change is not None:
        change, agent = outcome.owner_change
        # Another agent was first: the event is over all the same.
        with suppress(ConversationChanged):
            after = await change_owner(connection, after.id, change, agent=agent, now=now)
    elif outcome.after != outcome.before:
        await save_conversation(connection, after, now)
    if outcome.moved_to is not None:
        await _move(connection, after.id, outcome.moved_to)
    if outcome.case_reason is not None and outcome.turn is not None:
        opened = await find_open_case(connection, after.id) or await open_case(
            connection, after, outcome.case_reason, outcome.turn.question,
            outcome.turn.context, now,
        )  # fmt: skip
    turn_id = None
    if outcome.turn is not None:
        turn_id = await _write_turn(connection, after, outcome.turn, events, now)
    if outcome.pressed is not None:
        button = tables.button
        await connection.execute(
            button.update().where(button.c.token == outcome.pressed).values(pressed_at=now)
        )
    event_id = events[-1].event.event_id if events else None
    for reply in outcome.replies:
        await _reply(connection, after, reply, turn_id, event_id, capabilities, now)
    return opened


async def _finish(
    connection: AsyncConnection, events: Sequence[StoredEvent], state: str = "done"
) -> None:
    inbox = tables.inbox
    ids = [event.inbox_id for event in events]
    await connection.execute(inbox.update().where(inbox.c.id.in_(ids)).values(state=state))


async def _move(connection: AsyncConnection, conversation_id: int, address: ConversationId) -> None:
    # The new address may have been written to before the platform told us of the move.
    if await find_conversation_id(connection, address) is None:
        await add_address(connection, conversation_id, address)


async def _write_turn(
    connection: AsyncConnection,
    conversation: Conversation,
    turn: Turn,
    events: Sequence[StoredEvent],
    now: datetime,
) -> int:
    created = await connection.execute(
        tables.turn.insert().values(
            conversation_id=conversation.id,
            ownership_epoch=conversation.ownership_epoch,
            question=turn.question,
            decision=turn.decision,
            confidence=turn.confidence,
            reason=turn.reason,
            data=turn.as_data(),
            evidence={kind: dict(signals) for kind, signals in turn.evidence.items()},
            timings_ms=dict(turn.timings_ms),
            created_at=now,
        )
    )
    assert created.inserted_primary_key is not None
    turn_id: int = created.inserted_primary_key[0]
    message = tables.message
    await connection.execute(
        message.update()
        .where(
            message.c.conversation_id == conversation.id,
            message.c.event_id.in_([event.event.event_id for event in events]),
        )
        .values(turn_id=turn_id)
    )
    return turn_id


async def _reply(
    connection: AsyncConnection,
    conversation: Conversation,
    reply: Reply,
    turn_id: int | None,
    event_id: str | None,
    capabilities: Capabilities,
    now: datetime,
) -> None:
    texts = shape(reply, capabilities)
    for number, text in enumerate(texts, start=1):
        last = number == len(texts)
        buttons = reply.buttons if last else ()
        await _say(
            connection,
            conversation,
            text,
            kind=reply.kind,
            reply=reply if last else None,
            buttons=await _write_buttons(connection, conversation, buttons, turn_id, now),
            turn_id=turn_id,
            event_id=event_id,
            pushed=not capabilities.pulls_replies,
            now=now,
        )


async def _write_buttons(
    connection: AsyncConnection,
    conversation: Conversation,
    buttons: Sequence[NewButton],
    turn_id: int | None,
    now: datetime,
) -> tuple[Button, ...]:
    made = []
    for button in buttons:
        token = secrets.token_urlsafe(16)
        await connection.execute(
            tables.button.insert().values(
                token=token,
                conversation_id=conversation.id,
                turn_id=turn_id,
                action=button.action,
                value=button.value,
                label=button.label,
                expires_at=now + BUTTON_LIFE,
            )
        )
        made.append(Button(token, button.label, button.action))
    return tuple(made)


async def _say(
    connection: AsyncConnection,
    conversation: Conversation,
    text: str,
    *,
    sender: Sender | None = None,
    kind: OutboundKind = "message",
    reply: Reply | None = None,
    buttons: tuple[Button, ...] = (),
    turn_id: int | None = None,
    event_id: str | None = None,
    internal: bool = False,
    pushed: bool,
    now: datetime,
) -> int:
    """Write a message into the transcript and, if it is pushed, into the outbox.

    What the bot says must not be sent once the conversation has changed hands; what an agent
    says is sent whoever owns it.
    """
    sender = sender or Sender("bot", "bot")
    citations = reply.citations if reply else ()
    extras: dict[str, Any] = {}
    if citations:
        extras["citations"] = [asdict(citation) for citation in citations]
    if buttons:
        extras["buttons"] = [asdict(button) for button in buttons]
    created = await connection.execute(
        tables.message.insert().values(
            conversation_id=conversation.id,
            role=sender.role,
            sender_name=sender.display_name,
            kind=kind,
            text=text,
            internal=internal,
            extras=extras,
            event_id=event_id,
            turn_id=turn_id,
            created_at=now,
        )
    )
    assert created.inserted_primary_key is not None
    message_id: int = created.inserted_primary_key[0]
    if pushed:
        message = OutboundMessage(
            conversation=conversation.address,
            id=f"msg_{secrets.token_hex(12)}",
            text=text,
            kind=kind,
            sender=sender,
            citations=citations,
            buttons=buttons,
        )
        await _enqueue(connection, conversation, message, message_id, now)
    return message_id


async def _enqueue(
    connection: AsyncConnection,
    conversation: Conversation,
    message: OutboundMessage,
    message_id: int,
    now: datetime,
) -> None:
    bound = message.sender.role == "bot"
    await connection.execute(
        tables.outbox.insert().values(
            conversation_id=conversation.id,
            message_id=message_id,
            idempotency_key=message.id,
            payload=encode_message(message),
            ownership_epoch=conversation.ownership_epoch if bound else None,
            created_at=now,
        )
    )
    await set_ready(connection, conversation.id, now)
