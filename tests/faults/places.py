"""The places where a server can stand still, each patched into the code from outside.

A real process has to stop between two certain lines, and no setting of the product should be able
to ask for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import await_only

from adapters.webhook import WebhookAdapter
from kfbot.batching import Batch
from kfbot.conversation import Conversation
from kfbot.dialogue import Dialogue
from kfbot.inbox import Inbox
from kfbot.messages import InboundEvent, MessageReceived, OutboundMessage
from kfbot.outbox import Outbox
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import StoredMessage
from kfbot.turn import Outcome
from tests.faults.faq import MARKER
from tests.faults.standstill import Point

Stand = Callable[[], Awaitable[None]]


def stand_still_at(point: Point, stand: Stand) -> None:
    """Call `stand` whenever a marked message passes a place."""
    {
        "accepted": _accepted,
        "mid-turn": _mid_turn,
        "in-commit": _in_commit,
        "begun": _begun,
        "committed": _committed,
    }[point](stand)


def _accepted(stand: Stand) -> None:
    accept = Inbox.accept

    async def wrapped(self: Inbox, event: InboundEvent) -> Any:
        accepted = await accept(self, event)
        if _is_marked(event):
            await stand()
        return accepted

    _put(Inbox, "accept", wrapped)


def _mid_turn(stand: Stand) -> None:
    respond = Dialogue.respond

    async def wrapped(
        self: Dialogue, conversation: Conversation, batch: Batch, **given: Any
    ) -> Outcome:
        outcome = await respond(self, conversation, batch, **given)
        if _is_marked(batch.event):
            await stand()
        return outcome

    _put(Dialogue, "respond", wrapped)


def _in_commit(stand: Stand) -> None:
    commit = OutcomeStore._commit

    def wrapped(self: OutcomeStore, connection: sa.Connection, items: Sequence[Any]) -> Any:
        results = commit(self, connection, items)
        if any(MARKER in reply.text for item in items for reply in item.outcome.replies):
            # On PostgreSQL a transaction is a plain function over asynchronous calls.
            await_only(stand())
        return results

    _put(OutcomeStore, "_commit", wrapped)


def _begun(stand: Stand) -> None:
    wait_until = Outbox._wait_until

    async def wrapped(self: Outbox, stored: StoredMessage) -> Any:
        until = await wait_until(self, stored)
        if MARKER in stored.message.text:
            await stand()
        return until

    _put(Outbox, "_wait_until", wrapped)


def _committed(stand: Stand) -> None:
    send = WebhookAdapter.send

    async def wrapped(self: WebhookAdapter, message: OutboundMessage) -> Any:
        if MARKER in message.text:
            await stand()
        return await send(self, message)

    _put(WebhookAdapter, "send", wrapped)


def _is_marked(event: InboundEvent | None) -> bool:
    return isinstance(event, MessageReceived) and MARKER in event.text


def _put(owner: type, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)
