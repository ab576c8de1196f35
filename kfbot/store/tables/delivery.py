"""Tables of the work to do: lanes, inbox, outbox, jobs, and what paces them."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.store.tables.columns import BigId, Payload, UtcTime, metadata, of_conversation, row_id

#: One row a conversation: who works on it and until when. `epoch` fences late commits.
lane = sa.Table(
    "lane",
    metadata,
    sa.Column(
        "conversation_id", BigId, sa.ForeignKey("conversation.id"), primary_key=True,
        autoincrement=False,
    ),
    #: NULL: nothing to do.
    sa.Column("ready_at", UtcTime),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", UtcTime),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Index(
        "ix_lane_ready_at",
        "ready_at",
        sqlite_where=sa.text("ready_at IS NOT NULL"),
        postgresql_where=sa.text("ready_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_lane_owner",
        "owner",
        sqlite_where=sa.text("owner IS NOT NULL"),
        postgresql_where=sa.text("owner IS NOT NULL"),
    ),
)  # fmt: skip

inbox = sa.Table(
    "inbox",
    metadata,
    row_id(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    of_conversation(),
    sa.Column("payload", Payload, nullable=False),
    #: new | done | dead | discarded
    sa.Column("state", sa.Text, nullable=False, default="new"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    #: How often a process died while this was the first of its lane.
    sa.Column("crashes", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("error", sa.Text),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.UniqueConstraint("channel", "event_id"),
    # Not by id behind it: SQLite would then go through all of a conversation for what is new.
    sa.Index("ix_inbox_conversation_id_received_at", "conversation_id", "received_at"),
    sa.Index(
        "ix_inbox_new",
        "conversation_id",
        "id",
        sqlite_where=sa.text("state = 'new'"),
        postgresql_where=sa.text("state = 'new'"),
    ),
    sa.Index(
        "ix_inbox_dead",
        "id",
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    ),
)

outbox = sa.Table(
    "outbox",
    metadata,
    row_id(),
    of_conversation(),
    sa.Column("message_id", BigId, sa.ForeignKey("message.id"), nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column("payload", Payload, nullable=False),
    #: The bot's rows are sent only while the conversation is still at this epoch; NULL: always.
    sa.Column("ownership_epoch", sa.Integer),
    #: new | sent | cancelled | dead | discarded; earlier versions wrote "sending" too.
    sa.Column("state", sa.Text, nullable=False, default="new"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    #: Not to be tried again before; NULL: at once.
    sa.Column("retry_at", UtcTime),
    #: When the channel's rate lets it go; NULL: not asked yet.
    sa.Column("slot_at", UtcTime),
    #: The platform's ids of what was shown of it while it was written; NULL: it is new there.
    sa.Column("replaces", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("ix_outbox_conversation_id_created_at", "conversation_id", "created_at"),
    sa.Index("ix_outbox_message_id", "message_id"),
    sa.Index(
        "ix_outbox_unsent",
        "conversation_id",
        "id",
        sqlite_where=sa.text("state IN ('new', 'sending')"),
        postgresql_where=sa.text("state IN ('new', 'sending')"),
    ),
    sa.Index(
        "ix_outbox_dead",
        "id",
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    ),
)

#: What a customer may have seen of an answer that is being written: one row a conversation, gone
#: with the commit of what it comes to.
draft = sa.Table(
    "draft",
    metadata,
    sa.Column(
        "conversation_id", BigId, sa.ForeignKey("conversation.id"), primary_key=True,
        autoincrement=False,
    ),
    #: The conversation's, while it was written.
    sa.Column("ownership_epoch", sa.Integer, nullable=False),
    #: The first of the events that it answers.
    sa.Column("inbox_id", BigId, nullable=False),
    #: Written down before it is shown.
    sa.Column("text", sa.Text, nullable=False),
    #: The platform's ids of the message that shows it.
    sa.Column("platform_ids", sa.JSON, nullable=False, default=list),
    sa.Column("updated_at", UtcTime, nullable=False),
)  # fmt: skip

#: One row for each channel with a limited rate: when the next message may go.
channel = sa.Table(
    "channel",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("free_at", UtcTime, nullable=False),
)

#: Long work that was started over HTTP; any replica may be asked about it.
job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    #: Who runs it: a process whose lanes would be freed if it were gone.
    sa.Column("owner", sa.Text, nullable=False),
    #: running | done | failed
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False, default=""),
    sa.Column("done", sa.Integer, nullable=False, default=0),
    sa.Column("total", sa.Integer, nullable=False, default=0),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("reports", sa.JSON, nullable=False, default=list),
    sa.Column("created_at", UtcTime, nullable=False),
)

#: A conversation in which somebody waits to be told how a job ended.
job_asker = sa.Table(
    "job_asker",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    of_conversation(),
)

#: Chats in which an admin told the bot to be silent.
pause = sa.Table(
    "pause",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("chat", sa.Text, primary_key=True),
    sa.Column("since", UtcTime, nullable=False),
)

#: Customers' messages of the last minutes, where only so many of them are answered.
heard = sa.Table(
    "heard",
    metadata,
    sa.Column("inbox_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("chat", sa.Text, nullable=False),
    sa.Column("sender", sa.Text, nullable=False),
    sa.Column("addressed", sa.Boolean, nullable=False),
    sa.Column("sent_at", UtcTime, nullable=False),
    sa.Index(
        "ix_heard_channel_chat_addressed_inbox_id", "channel", "chat", "addressed", "inbox_id"
    ),
)

#: What all replicas must know alike, by name: the key that signs visitors' cookies.
secret = sa.Table(
    "secret",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Conditions to the letter of the partial indexes: with a bound value SQLite would not use them,
# and read the whole table.
is_waiting = inbox.c.state == sa.literal_column("'new'")
is_unsent = outbox.c.state.in_([sa.literal_column("'new'"), sa.literal_column("'sending'")])
is_dead_event = inbox.c.state == sa.literal_column("'dead'")
is_dead_message = outbox.c.state == sa.literal_column("'dead'")
