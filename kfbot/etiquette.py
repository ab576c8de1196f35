"""May the bot speak, and when is a burst of messages complete: pure rules, no I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kfbot.messages import MessageReceived

#: An unfinished thought is waited for so long after its last message …
BURST_PAUSE = timedelta(milliseconds=700)
#: … and so long after its first one at most.
BURST_LIMIT = timedelta(seconds=3)
#: Messages are counted over so long.
WINDOW = timedelta(minutes=1)
#: What is older has no part in what becomes of a message: it is too much for what was written up
#: to a window before, which may itself have been too much, and a notice holds for one more.
REACH = 3 * WINDOW
#: Where more than that is written within `REACH`, only so much of it is looked at.
FLOOD = 5000
#: A chat as a whole gets so many times what one person in a group gets.
SHARE = 3
#: What the bot only overhears is answered where of 100 such answers at most so many are wrong.
OVERHEARD_MAX_WRONG_PERCENT = 1.0

Verdict = Literal["answer", "notice", "silence"]

# "@bob …", as people write it and as Slack does.
_TO_SOMEBODY = re.compile(r"\s*<?@")
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


def overhearable(message: MessageReceived) -> bool:
    """True for a whole question of a customer that is put to nobody in particular.

    What answers or names somebody is talk between people.
    """
    return (
        message.sender.role == "customer"
        and not message.addressed_to_bot
        and message.in_reply_to is None
        and _TO_SOMEBODY.match(message.text) is None
        and complete(message.text)
    )


@dataclass(frozen=True, slots=True)
class Heard:
    """A customer's message, as it is counted."""

    inbox_id: int
    sender: str
    #: As the platform has it: what waited for us was not written at once.
    sent_at: datetime


def within_limit(
    heard: Sequence[Heard], ours: Collection[int], *, per_minute: int, in_group: bool
) -> Verdict:
    """What becomes of a turn, with so many messages in its chat before it.

    The same on every replica: nothing but what is stored counts.

    Args:
        heard: The chat's messages, the newest first, which is one of the turn's: at least those
            of `needed` many.
        ours: Inbox ids of the turn's messages.
        per_minute: Of one person in a group. The chat as a whole gets `SHARE` times as many;
            what was too much of one person does not count for it.

    Returns:
        "notice" for the first turn that is over a limit, "silence" for those that follow until
        a minute has passed without one.
    """
    if not in_group:
        return _verdict(heard, ours, per_minute * SHARE)
    by_person = [one for one in heard if one.sender == heard[0].sender]
    verdicts = {
        _verdict(_let_in(heard, per_minute), ours, per_minute * SHARE),
        _verdict(by_person, ours, per_minute),
    }
    return next(one for one in ("silence", "notice", "answer") if one in verdicts)


def needed(per_minute: int, count: int) -> int:
    """How many messages `within_limit` has to see for a turn of `count` messages."""
    return 2 * per_minute * SHARE + count


def _let_in(heard: Sequence[Heard], per_minute: int) -> list[Heard]:
    """Without what was too much of one person: nobody may use up what the others get."""
    by_person: defaultdict[str, list[Heard]] = defaultdict(list)
    let_in = []
    for one in reversed(heard):
        said = by_person[one.sender]
        said.append(one)
        if len(said) <= per_minute or not _within_window(one, said[-1 - per_minute]):
            let_in.append(one)
    return let_in[::-1]


def _verdict(heard: Sequence[Heard], ours: Collection[int], limit: int) -> Verdict:
    def is_over(place: int) -> bool:
        earlier = place + limit
        return earlier < len(heard) and _within_window(heard[place], heard[earlier])

    def is_first(place: int) -> bool:
        return is_over(place) and not any(
            is_over(other)
            for other in range(place + 1, len(heard))
            if _within_window(heard[place], heard[other])
        )

    if not heard or not is_over(0):
        return "answer"
    places = (place for place, one in enumerate(heard) if one.inbox_id in ours)
    return "notice" if any(is_first(place) for place in places) else "silence"


def _within_window(later: Heard, earlier: Heard) -> bool:
    # What came late was written before what was heard before it: then neither counts.
    return timedelta() <= later.sent_at - earlier.sent_at < WINDOW
