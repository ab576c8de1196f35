"""Tables of what other systems are told: what happened to conversations, and each telling."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.store.tables.columns import UtcTime, metadata, of_conversation, row_id

conversation_event = sa.Table(
    "conversation_event",
    metadata,
    row_id(),
    of_conversation(),
    #: What the receiver knows it by: the same in every telling of it.
    sa.Column("uid", sa.Text, nullable=False, unique=True),
    #: conversation.handed_off, …
    sa.Column("type", sa.Text, nullable=False),
    #: What is told beside the conversation.
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("happened_at", UtcTime, nullable=False),
    #: new; told: there is a delivery for each system that is to be told.
    sa.Column("state", sa.Text, nullable=False, default="new"),
    sa.Index("ix_conversation_event_conversation_id", "conversation_id"),
    sa.Index(
        "ix_conversation_event_new",
        "id",
        sqlite_where=sa.text("state = 'new'"),
        postgresql_where=sa.text("state = 'new'"),
    ),
)

event_delivery = sa.Table(
    "event_delivery",
    metadata,
    row_id(),
    #: Name of the section in the settings.
    sa.Column("webhook", sa.Text, nullable=False),
    sa.Column("event_uid", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    #: What is posted, to the letter: every try signs the same.
    sa.Column("body", sa.Text, nullable=False),
    #: pending, delivered, dead.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    #: While it is being posted: when it is taken for broken off.
    sa.Column("next_at", UtcTime, nullable=False),
    #: Of the last answer; null: there was none.
    sa.Column("status", sa.Integer),
    #: Why the last try failed; "": it did not.
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Index("ix_event_delivery_event_uid", "event_uid"),
    sa.Index(
        "ix_event_delivery_due",
        "webhook",
        "next_at",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
)
