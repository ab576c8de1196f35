"""What a customer says to an action, and what they said before; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import get_args

from kfbot.batching import Batch
from kfbot.conversation import Conversation, HistoryMessage, Language
from kfbot.language import language_of, last_spoken
from kfbot.messages import MessageEdited, MessageReceived, Sender
from kfbot.store.transcripts import Context
from kfbot.texts import means, small_talk, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A customer's message, or the button that says it."""

    conversation: Conversation
    customer: Sender
    text: str
    #: Of the first event that the turn is about: the same when the turn is taken again.
    event_id: str
    #: Others read along.
    in_group: bool = False
    context: Context = field(default_factory=lambda: Context((), ()))


def said_in(
    conversation: Conversation,
    batch: Batch,
    event: MessageReceived | MessageEdited,
    text: str,
    context: Context,
) -> Said:
    """What a customer's message says.

    Args:
        text: As it reads now.
    """
    return Said(
        conversation=conversation,
        customer=event.sender,
        text=text,
        event_id=batch.events[0].event.event_id,
        in_group=event.in_group,
        context=context,
    )


def lately(said: Said, now: datetime, within: timedelta) -> list[str]:
    """The customer's own earlier words, the oldest first: since a person was there, if one was.

    None where nothing was said for so long, or words of others may be among them.
    """
    last, shared = said.context.last, said.in_group and said.conversation.address.member is None
    if shared or last is None or now - last.at > within:
        return []
    words: list[str] = []
    for message in said.context.history:
        words = [*words, message.text] if message.role == "customer" else words
        words = [] if message.role == "agent" or message.text in _owned_again() else words
    return words


def language_in(text: str, history: Sequence[HistoryMessage]) -> Language:
    """The language of a message; of one without words, that of what was said before."""
    spoken = last_spoken(one.text for one in reversed(history) if one.role == "customer")
    return language_of(text, spoken or "en")


def ends(text: str) -> bool:
    """True where a message as a whole breaks off what was begun."""
    return means("stops", text) or means("means_no", text) or small_talk(text) == "goodbye"


@cache
def _owned_again() -> frozenset[str]:
    """What the bot says when a person has had the conversation."""
    both = [texts(language) for language in get_args(Language)]
    return frozenset(text for says in both for text in (says.handback, says.resolved))
