"""Tables of what is said: customers, conversations, turns, messages, cases, buttons."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.store.tables.columns import BigId, Payload, UtcTime, metadata, of_conversation, row_id

customer = sa.Table(
    "customer",
    metadata,
    row_id(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("platform_user", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False, default=""),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("channel", "platform_user"),
)

conversation = sa.Table(
    "conversation",
    metadata,
    row_id(),
    sa.Column("state", sa.Text, nullable=False, default="bot"),
    sa.Column("ownership_epoch", sa.Integer, nullable=False, default=0),
    sa.Column("agent", sa.Text),
    sa.Column("customer_id", BigId, sa.ForeignKey("customer.id")),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    #: What was said until then is masked; see `kfbot.store.masking`.
    sa.Column("masked_at", UtcTime),
    sa.Index("ix_conversation_state_updated_at", "state", "updated_at"),
    sa.Index("ix_conversation_customer_id", "customer_id"),
)

#: That a customer was told how their data is used; see `kfbot.store.consent`.
consent = sa.Table(
    "consent",
    metadata,
    sa.Column(
        "customer_id", BigId, sa.ForeignKey("customer.id"), primary_key=True, autoincrement=False
    ),
    #: SHA-256 of the text, in all its languages: another text is told again.
    sa.Column("text_hash", sa.Text, primary_key=True),
    #: In which of them.
    sa.Column("language", sa.Text, nullable=False),
    #: When it was put into the outbox, or into the transcript that the other side reads.
    sa.Column("told_at", UtcTime, nullable=False),
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
    of_conversation(),
    #: The newest address is the one to write to.
    sa.Column("current", sa.Boolean, nullable=False, default=True),
    sa.Index("ix_conversation_alias_conversation_id", "conversation_id"),
)

turn = sa.Table(
    "turn",
    metadata,
    row_id(),
    of_conversation(),
    sa.Column("ownership_epoch", sa.Integer, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("reason", sa.Text),
    #: Where the best passage came from; "": none was found.
    sa.Column("knowledge_base", sa.Text, nullable=False, default="", server_default=""),
    #: The `data` of an answer: text, context, citations (passages shown), choices.
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("timings_ms", sa.JSON, nullable=False),
    #: What it took of a chat model; see `kfbot.chat_model.Usage`.
    sa.Column("usage", sa.JSON, nullable=False, default=dict, server_default="{}"),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("ix_turn_conversation_id_id", "conversation_id", "id"),
)

#: The transcript: what was said, by whom, in order.
message = sa.Table(
    "message",
    metadata,
    row_id(),
    of_conversation(),
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
    #: Who wrote it: others may write in the same conversation. NULL: no customer, or it was
    #: written before this was kept.
    sa.Column("customer_id", BigId, sa.ForeignKey("customer.id")),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index(
        "ix_message_customer_id",
        "customer_id",
        "conversation_id",
        sqlite_where=sa.text("customer_id IS NOT NULL"),
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    ),
    # Without it each turn that is removed has the database look through all messages.
    sa.Index(
        "ix_message_turn_id",
        "turn_id",
        sqlite_where=sa.text("turn_id IS NOT NULL"),
        postgresql_where=sa.text("turn_id IS NOT NULL"),
    ),
    sa.Index("ix_message_conversation_id_id", "conversation_id", "id"),
    sa.Index("ix_message_conversation_id_event_id", "conversation_id", "event_id"),
    sa.Index("ix_message_conversation_id_platform_id", "conversation_id", "platform_id"),
)

case = sa.Table(
    "case",
    metadata,
    row_id(),
    of_conversation(),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("draft", sa.Text, nullable=False, default=""),
    #: Where the best passage came from; "": none was found.
    sa.Column("knowledge_base", sa.Text, nullable=False, default="", server_default=""),
    #: What the bot found, best first; see `kfbot.store.cases.passage_row`.
    sa.Column("passages", sa.JSON, nullable=False, default=list, server_default="[]"),
    #: The probability, 0 to 1, that it answered; NULL: no turn of the bot's opened the case.
    sa.Column("confidence", sa.Float),
    sa.Column("opened_at", UtcTime, nullable=False),
    #: The agent whom it was given to; others may claim it all the same.
    sa.Column("assigned_to", sa.Text),
    sa.Column("assigned_at", UtcTime),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_at", UtcTime),
    #: When an agent first wrote to the customer, and last.
    sa.Column("first_reply_at", UtcTime),
    sa.Column("last_reply_at", UtcTime),
    #: How often the customer was told that it takes longer, and when last.
    sa.Column("notices", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("noticed_at", UtcTime),
    #: It came back to the queue; NULL: the customer waits since it was opened.
    sa.Column("waiting_since", UtcTime),
    #: Nothing is to be done about it before.
    sa.Column("due_at", UtcTime),
    sa.Column("closed_at", UtcTime),
    sa.Column("closed_by", sa.Text),
    #: resolved | handed_back
    sa.Column("outcome", sa.Text),
    #: By language; see `Case.summary`.
    sa.Column("summary", sa.JSON, nullable=False, default=dict, server_default="{}"),
    sa.Index("ix_case_opened_at", "opened_at"),
    sa.Index("ix_case_conversation_id_id", "conversation_id", "id"),
    sa.Index(
        "ix_case_due_at",
        "due_at",
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    ),
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
    of_conversation(),
    sa.Column("turn_id", BigId, sa.ForeignKey("turn.id")),
    #: helpful | not_helpful | person | choice
    sa.Column("action", sa.Text, nullable=False),
    #: choice: "knowledge base/document id".
    sa.Column("value", sa.Text, nullable=False, default=""),
    sa.Column("label", sa.Text, nullable=False, default=""),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("pressed_at", UtcTime),
    sa.Index("ix_button_conversation_id", "conversation_id"),
    sa.Index(
        "ix_button_turn_id",
        "turn_id",
        sqlite_where=sa.text("turn_id IS NOT NULL"),
        postgresql_where=sa.text("turn_id IS NOT NULL"),
    ),
    sa.Index("ix_button_expires_at", "expires_at"),
    sa.Index(
        "ix_button_pressed_at",
        "pressed_at",
        sqlite_where=sa.text("pressed_at IS NOT NULL"),
        postgresql_where=sa.text("pressed_at IS NOT NULL"),
    ),
)

#: What an action has of a customer between two messages; see `kfbot.actions.memory`.
action_memory = sa.Table(
    "action_memory",
    metadata,
    row_id(),
    of_conversation(),
    #: The platform's id of the customer: others may write in the same conversation.
    sa.Column("customer", sa.Text, nullable=False),
    #: Under another owner of the conversation it counts for nothing.
    sa.Column("ownership_epoch", sa.Integer, nullable=False),
    sa.Column("data", Payload, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.UniqueConstraint("conversation_id", "customer"),
)
