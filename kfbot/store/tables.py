"""All tables, for SQLite and PostgreSQL alike. Times are aware UTC; `migrations/` follows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite numbers rows by itself only in a column that is INTEGER to the letter.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps it without its zone, which is given back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware


class Payload(TypeDecorator[Any]):
    """JSON; where it is damaged its text comes instead, and the rest of the rows all the same."""

    impl = sa.JSON
    cache_ok = True

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        read = super().result_processor(dialect, coltype)

        def tolerant(value: Any) -> Any:
            try:
                return value if read is None else read(value)
            except ValueError:
                return value

        return tolerant


def _id() -> sa.Column[int]:
    return sa.Column("id", BigId, primary_key=True)


def _conversation() -> sa.Column[int]:
    return sa.Column("conversation_id", BigId, sa.ForeignKey("conversation.id"), nullable=False)


customer = sa.Table(
    "customer",
    metadata,
    _id(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("platform_user", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False, default=""),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("channel", "platform_user"),
)

conversation = sa.Table(
    "conversation",
    metadata,
    _id(),
    sa.Column("state", sa.Text, nullable=False, default="bot"),
    sa.Column("ownership_epoch", sa.Integer, nullable=False, default=0),
    sa.Column("agent", sa.Text),
    sa.Column("customer_id", BigId, sa.ForeignKey("customer.id")),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Index("ix_conversation_state_updated_at", "state", "updated_at"),
)

#: Every address that a conversation has had; platforms move and rename chats. thread and
#: member are "" where they do not apply, so that the key is unique (NULLs would not be).
conversation_alias = sa.Table(
    "conversation_alias",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("chat", sa.Text, primary_key=True),
    sa.Column("thread", sa.Text, primary_key=True, default=""),
    sa.Column("member", sa.Text, primary_key=True, default=""),
    _conversation(),
    #: The newest address is the one to write to.
    sa.Column("current", sa.Boolean, nullable=False, default=True),
    sa.Index("ix_conversation_alias_conversation_id", "conversation_id"),
)

turn = sa.Table(
    "turn",
    metadata,
    _id(),
    _conversation(),
    sa.Column("ownership_epoch", sa.Integer, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("reason", sa.Text),
    #: The `data` of an answer: text, context, citations (passages shown), choices.
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("timings_ms", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("ix_turn_conversation_id_id", "conversation_id", "id"),
)

#: The transcript: what was said, by whom, in order.
message = sa.Table(
    "message",
    metadata,
    _id(),
    _conversation(),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("sender_name", sa.Text, nullable=False, default=""),
    sa.Column("kind", sa.Text, nullable=False, default="message"),
    sa.Column("text", sa.Text, nullable=False),
    #: Agents only.
    sa.Column("internal", sa.Boolean, nullable=False, default=False),
    #: citations and buttons as shown; attachments.
    sa.Column("extras", sa.JSON, nullable=False, default=dict),
    sa.Column("platform_id", sa.Text),
    #: The inbound event that led to it: its own for a customer's message, else the question's.
    sa.Column("event_id", sa.Text),
    sa.Column("turn_id", BigId, sa.ForeignKey("turn.id")),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("ix_message_conversation_id_id", "conversation_id", "id"),
    sa.Index("ix_message_conversation_id_event_id", "conversation_id", "event_id"),
    sa.Index("ix_message_conversation_id_platform_id", "conversation_id", "platform_id"),
)

case = sa.Table(
    "case",
    metadata,
    _id(),
    _conversation(),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("draft", sa.Text, nullable=False, default=""),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_at", UtcTime),
    sa.Column("closed_at", UtcTime),
    sa.Index(
        "ix_case_open",
        "conversation_id",
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    ),
)

button = sa.Table(
    "button",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    _conversation(),
    sa.Column("turn_id", BigId, sa.ForeignKey("turn.id")),
    #: helpful | not_helpful | person | choice
    sa.Column("action", sa.Text, nullable=False),
    #: choice: "knowledge base/document id".
    sa.Column("value", sa.Text, nullable=False, default=""),
    sa.Column("label", sa.Text, nullable=False, default=""),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("pressed_at", UtcTime),
    sa.Index("ix_button_expires_at", "expires_at"),
)

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
    _id(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    _conversation(),
    sa.Column("payload", Payload, nullable=False),
    #: new | done | dead | discarded
    sa.Column("state", sa.Text, nullable=False, default="new"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    #: How often a process died while this was the first of its lane.
    sa.Column("crashes", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("error", sa.Text),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.UniqueConstraint("channel", "event_id"),
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
    _id(),
    _conversation(),
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
    sa.Column("error", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
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
    _conversation(),
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

knowledge_base = sa.Table(
    "knowledge_base",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    #: What is in force. Raised by every load that changed something; names the index folder.
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    #: Chance makes it with the generation: a restored database counts the same numbers again.
    sa.Column("revision", sa.Text, nullable=False, default="", server_default=""),
    #: The revision of the generation before, which can be had back; "": there is none.
    sa.Column("previous_revision", sa.Text, nullable=False, default="", server_default=""),
    #: It was taken back to the generation before: only a person has it loaded again.
    sa.Column("rolled_back", sa.Boolean, nullable=False, default=False, server_default="0"),
    #: The embedding model that made the vectors; another one means embedding again.
    sa.Column("embedding_key", sa.Text, nullable=False, default=""),
    sa.Column("loaded_at", UtcTime),
    #: Lines "name: reason" of the last load.
    sa.Column("unreadable", sa.JSON, nullable=False, default=list),
    #: How often each step of reading and cleaning did something, in what is loaded.
    sa.Column("counts", sa.JSON, nullable=False, default=dict, server_default="{}"),
)

#: A file as the last load found it: while nothing of this changes it is not read again.
knowledge_file = sa.Table(
    "knowledge_file",
    metadata,
    sa.Column("knowledge_base", sa.Text, sa.ForeignKey("knowledge_base.name"), primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified_ns", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    #: The version of the readers and the cleaning policy that it was read with.
    sa.Column("read_key", sa.Text, nullable=False),
    sa.Column("unreadable", sa.JSON, nullable=False, default=list),
    sa.Column("counts", sa.JSON, nullable=False, default=dict),
)

#: How far the estimates for a knowledge base are off; see `kfbot.calibration.Calibration`.
calibration = sa.Table(
    "calibration",
    metadata,
    sa.Column("knowledge_base", sa.Text, sa.ForeignKey("knowledge_base.name"), primary_key=True),
    #: What was measured: with another model or other signals it holds no more.
    sa.Column("embedding_key", sa.Text, nullable=False),
    sa.Column("signals", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("made_at", UtcTime, nullable=False),
    #: Where the questions came from: "operator" or "knowledge base".
    sa.Column("source", sa.Text, nullable=False),
    #: How many questions of each sort.
    sa.Column("counts", sa.JSON, nullable=False),
    #: By kind of passage.
    sa.Column("adjustments", sa.JSON, nullable=False),
)

#: In force from generation `since` on and before generation `until`. What a load that is under
#: way, or was broken off, has made bears the generation that is to come.
knowledge_document = sa.Table(
    "knowledge_document",
    metadata,
    _id(),
    sa.Column("knowledge_base", sa.Text, sa.ForeignKey("knowledge_base.name"), nullable=False),
    #: The operator's id: FAQ id or path relative to the source folder.
    sa.Column("document_id", sa.Text, nullable=False),
    sa.Column("since", sa.Integer, nullable=False, default=1, server_default="1"),
    sa.Column("until", sa.Integer),
    #: The embedding model of its vectors.
    sa.Column("embedding_key", sa.Text, nullable=False, default="", server_default=""),
    #: faq | document
    sa.Column("kind", sa.Text, nullable=False),
    #: file | approved | chat: a reload removes only what came from files.
    sa.Column("source", sa.Text, nullable=False, default="file"),
    #: Path of the file that it came from, as configured.
    sa.Column("path", sa.Text, nullable=False, default=""),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False, default=""),
    sa.Column("url", sa.Text, nullable=False, default=""),
    #: FAQ: the answer. Document: "".
    sa.Column("answer", sa.Text, nullable=False, default=""),
    #: What filters may ask for: product, version, date, language, …
    sa.Column("fields", sa.JSON, nullable=False, default=dict, server_default="{}"),
    #: By which documents that say the same are found.
    sa.Column("signature", sa.LargeBinary, nullable=False, default=b"", server_default=""),
    sa.Index("uq_knowledge_document", "knowledge_base", "document_id", "since", unique=True),
    sa.Index("ix_knowledge_document_until", "knowledge_base", "until"),
)

#: What is searched: a passage of a document, or the question or a variant of an FAQ entry.
knowledge_chunk = sa.Table(
    "knowledge_chunk",
    metadata,
    #: uuid5 of knowledge base, generation, document id and position.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column(
        "document_pk",
        BigId,
        sa.ForeignKey("knowledge_document.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("heading", sa.Text, nullable=False, default=""),
    sa.Column("text", sa.Text, nullable=False),
    #: The page that it begins on; 0: the format has no pages.
    sa.Column("page", sa.Integer, nullable=False, default=0, server_default="0"),
    #: float16, little-endian, L2-normalised.
    sa.Column("vector", sa.LargeBinary, nullable=False),
    #: Terms and their counts, for BM25.
    sa.Column("terms", sa.JSON, nullable=False),
    sa.Index("ix_knowledge_chunk_document_pk", "document_pk"),
)

# Conditions to the letter of the partial indexes: with a bound value SQLite would not use them,
# and read the whole table.
is_waiting = inbox.c.state == sa.literal_column("'new'")
is_unsent = outbox.c.state.in_([sa.literal_column("'new'"), sa.literal_column("'sending'")])
is_dead_event = inbox.c.state == sa.literal_column("'dead'")
is_dead_message = outbox.c.state == sa.literal_column("'dead'")
