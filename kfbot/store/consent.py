"""That customers were told how their data is used: once for each customer and text, with time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kfbot.conversation import Language
from kfbot.language import language_of
from kfbot.messages import ButtonPressed, InboundEvent, MessageReceived, Sender
from kfbot.store import tables
from kfbot.store.sayings import Saying, Words

_consent, _customer = tables.consent.c, tables.customer.c
_COLUMNS = ("customer_id", "text_hash", "language", "told_at")
_ADD = {
    "sqlite": sqlite_insert(tables.consent).on_conflict_do_nothing(),
    "postgresql": postgresql_insert(tables.consent).on_conflict_do_nothing(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the customers of a channel are told before their first answer."""

    en: str
    zh: str

    @property
    def text_hash(self) -> str:
        """SHA-256, in hexadecimal, of the text in its languages: another one is another text."""
        return hashlib.sha256(f"{self.en}\0{self.zh}".encode()).hexdigest()

    def text(self, language: Language) -> str:
        """In a language, or in the one that there is."""
        return (self.zh or self.en) if language == "zh" else (self.en or self.zh)


def with_notice(
    connection: sa.Connection,
    notice: Notice | None,
    saying: Saying,
    event: InboundEvent,
    now: datetime,
    *,
    is_shown: bool,
) -> Saying:
    """What the bot says to a customer, with the notice if they were not told yet.

    Args:
        event: What it answers.
        is_shown: The beginning of the answer was shown already: the notice goes behind it, else
            before it.
    """
    if notice is None or saying.turn is None or not saying.words:
        return saying
    if not isinstance(event, MessageReceived | ButtonPressed) or event.sender.role != "customer":
        return saying
    channel, language = event.conversation.channel, language_of(saying.turn.question)
    if not _note_told(connection, channel, event.sender, notice, language, now):
        return saying
    words = (Words(text=notice.text(language), is_aside=True),)
    return replace(saying, words=saying.words + words if is_shown else words + saying.words)


def _note_told(
    connection: sa.Connection,
    channel: str,
    sender: Sender,
    notice: Notice,
    language: Language,
    now: datetime,
) -> bool:
    """Note that a customer is told; False where they were before, or nobody knows them."""
    customer = sa.select(
        _customer.id,
        sa.literal(notice.text_hash),
        sa.literal(language),
        sa.literal(now, tables.UtcTime()),
    ).where(_customer.channel == channel, _customer.platform_user == sender.id)
    told = _ADD[connection.dialect.name].from_select(_COLUMNS, customer, include_defaults=False)
    return connection.execute(told.returning(_consent.customer_id)).first() is not None
