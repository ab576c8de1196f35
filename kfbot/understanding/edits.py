"""When an edited message means something else, and what it would have been as a new one; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from kfbot.messages import MessageEdited, MessageReceived
from kfbot.templates import Slots, hidden


def meaning(text: str) -> str:
    """A text without its form: letters and digits alone."""
    return re.sub(r"\W+", "", text).casefold()


def means_the_same(
    reads: str,
    taken_for: Iterable[str],
    event: MessageEdited,
    said: MessageReceived | None,
    slots: Slots,
) -> bool:
    """True where an edit leaves nothing to be answered that was not.

    Args:
        reads: What the turn was about, as it reads now.
        taken_for: What turns were about; before a follow-up what it was joined with, in lines.
        said: The message as it was first, if that is known.
        slots: What the private ones find is not kept with a turn.
    """
    if not reads.strip():
        return True
    if said is not None and hidden(event.text, slots) != event.text:
        return meaning(event.text) == meaning(said.text)
    return meaning(reads) in {meaning(one.rsplit("\n", 1)[-1]) for one in taken_for}


def as_said(event: MessageEdited, said: MessageReceived | None) -> MessageReceived:
    """An edited message as if it had been written so now; None: how it was first is not known."""
    if said is not None:
        return replace(said, event_id=event.event_id, text=event.text, sent_at=event.sent_at)
    return MessageReceived(
        event_id=event.event_id,
        conversation=event.conversation,
        message_id=event.message_id,
        sender=event.sender,
        sent_at=event.sent_at,
        text=event.text,
    )
