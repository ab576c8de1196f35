"""May the bot speak, and when is a burst of messages complete: pure rules, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from kfbot.messages import MessageReceived

#: An unfinished thought is waited for so long after its last message …
BURST_PAUSE = timedelta(milliseconds=700)
#: … and so long after its first one at most.
BURST_LIMIT = timedelta(seconds=3)

_END = re.compile(r"[?？!！。.…~～)）\"”]\s*$|[吗呢么吧嘛]\s*$")
_ASKS = re.compile(
    r"\b(how|what|when|where|which|who|why|can|could|do|does|is|are|will|would|may|should)\b"
    r"|[吗呢么几]|怎|什么|哪|多少|多久|如何|为何|能不能|可不可以|是不是|有没有|是否|可以|转人工|人工",
    re.IGNORECASE,
)


def answerable(message: MessageReceived) -> bool:
    """True for words of a customer that were meant for the bot; it never answers bots."""
    return message.sender.role == "customer" and message.addressed_to_bot


def complete(text: str) -> bool:
    """True where nothing more is to be expected: a whole question or sentence."""
    words = text.strip()
    return bool(_END.search(words) or _ASKS.search(words)) or len(words) >= 40


def burst(
    messages: Sequence[tuple[MessageReceived, datetime]], now: datetime
) -> tuple[int, timedelta]:
    """How many of the waiting messages (each with its time of arrival) make the next turn.

    Returns:
        The count, and how long to wait first for the thought to be finished (zero: go on).
    """
    for count, (message, _) in enumerate(messages, start=1):
        if complete(message.text):
            return count, timedelta()
    first, last = messages[0][1], messages[-1][1]
    due = min(last + BURST_PAUSE, first + BURST_LIMIT)
    return len(messages), max(due - now, timedelta())
