"""What is told of each turn once it is committed: log, counters, and how long its reply took."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a reply answers; not its words, which may be erased meanwhile."""

    key: EventKey
    received_at: datetime


class TurnLog:
    """Follows turns from their commit to the delivery of their first message."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        #: By conversation, what the bot's next message answers.
        self._asked: dict[int, _Asked] = {}

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
            metrics.replied(channel, self._seconds_since(first.received_at))
        elif outcome.replies:
            self._remember(lane, _Asked(EventKey.of(first.event), first.received_at))

    async def deliver(
        self, outbox: Outbox, lane: Lane, conversation: Conversation, stored: StoredMessage
    ) -> Delivered:
        """Have a message sent; see `Outbox.deliver`."""
        asked = self._asked.get(lane.conversation_id)
        with tracing.following(None if asked is None else asked.key):
            delivered = await outbox.deliver(lane, conversation, stored)
        # What an agent says is no reply of the bot's.
        is_bots = stored.ownership_epoch is not None
        if asked is not None and is_bots and delivered.sent is not None:
            self._asked.pop(lane.conversation_id, None)
            if delivered.sent:
                seconds = self._seconds_since(asked.received_at)
                metrics.replied(conversation.address.channel, seconds)
        return delivered

    def _remember(self, lane: Lane, asked: _Asked) -> None:
        self._asked.pop(lane.conversation_id, None)
        if len(self._asked) >= REMEMBERED:
            # The oldest: another replica has sent its reply, or the conversation was erased.
            del self._asked[next(iter(self._asked))]
        self._asked[lane.conversation_id] = asked

    def _seconds_since(self, time: datetime) -> float:
        return (self._clock() - time).total_seconds()
