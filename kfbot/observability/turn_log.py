"""What is told of each turn once it is committed: log, counters, and how long its reply took."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from kfbot.adapter import Capabilities
from kfbot.conversation import Case, Conversation
from kfbot.observability import metrics, tracing
from kfbot.observability.tracing import EventKey
from kfbot.outbox import Delivered, Outbox
from kfbot.store.lanes import Lane
from kfbot.store.work import StoredEvent, StoredMessage
from kfbot.turn import Outcome

logger = logging.getLogger(__name__)

#: So many conversations are remembered whose answer is still to be sent.
REMEMBERED = 10_000


class TurnLog:
    """Follows turns from their commit to the delivery of their first message."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        #: By conversation, what the bot's next message answers.
        self._asked: dict[int, StoredEvent] = {}

    def committed(
        self,
        lane: Lane,
        first: StoredEvent,
        outcome: Outcome,
        case: Case | None,
        capabilities: Capabilities,
    ) -> None:
        """An outcome is stored.

        Args:
            first: Of the events that it finishes.
            case: That it opened, or that was open.
        """
        channel = outcome.before.address.channel
        if case is not None:
            metrics.handed_off(channel, case.reason)
        if (turn := outcome.turn) is None:
            return
        metrics.turn_taken(channel, turn)
        logger.info(
            "turn: %s, confidence %.2f, %.0f ms",
            turn.decision,
            turn.confidence,
            turn.timings_ms.get("total", 0.0),
            extra={"event": "turn_finished", "decision": turn.decision},
        )
        if outcome.replies and capabilities.pulls_replies:
            metrics.replied(channel, self._seconds_since(first))
        elif outcome.replies:
            if len(self._asked) >= REMEMBERED:
                # Agents took those conversations before the bot's words were sent.
                self._asked.clear()
            self._asked[lane.conversation_id] = first

    async def deliver(
        self, outbox: Outbox, lane: Lane, conversation: Conversation, stored: StoredMessage
    ) -> Delivered:
        """Have a message sent; see `Outbox.deliver`."""
        asked = self._asked.get(lane.conversation_id)
        with tracing.following(None if asked is None else EventKey.of(asked.event)):
            delivered = await outbox.deliver(lane, conversation, stored)
        # What an agent says is no reply of the bot's.
        if asked is not None and delivered.sent and stored.ownership_epoch is not None:
            self._asked.pop(lane.conversation_id, None)
            metrics.replied(conversation.address.channel, self._seconds_since(asked))
        return delivered

    def _seconds_since(self, asked: StoredEvent) -> float:
        return (self._clock() - asked.received_at).total_seconds()
