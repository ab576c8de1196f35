"""Tables of the agents: who they are, what they may see, what they did and what they taught."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.store.tables.columns import BigId, UtcTime, metadata, of_conversation, row_id

agent = sa.Table(
    "agent",
    metadata,
    row_id(),
    #: What they sign in with, in lower case; cases and conversations name them by it.
    sa.Column("name", sa.Text, nullable=False, unique=True),
    #: What customers read.
    sa.Column("display_name", sa.Text, nullable=False),
    #: argon2id, in PHC string format.
    sa.Column("password_hash", sa.Text, nullable=False),
    #: agent | admin | viewer
    sa.Column("role", sa.Text, nullable=False),
    #: False: they cannot sign in; what they did keeps their name.
    sa.Column("active", sa.Boolean, nullable=False, default=True),
    #: They take no cases now, though their desk is open.
    sa.Column("away", sa.Boolean, nullable=False, default=False),
    #: So many open cases are given to them at the same time.
    sa.Column("capacity", sa.Integer, nullable=False, default=5),
    #: A desk of theirs was open.
    sa.Column("seen_at", UtcTime),
    #: A case was given to them; the one whose turn it is has the oldest.
    sa.Column("assigned_at", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
)

agent_session = sa.Table(
    "agent_session",
    metadata,
    #: SHA-256 of the token in the cookie.
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("agent_id", BigId, sa.ForeignKey("agent.id"), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    #: Moved on while it is used.
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Index("ix_agent_session_agent_id", "agent_id"),
    sa.Index("ix_agent_session_expires_at", "expires_at"),
)

#: Sign-ins that failed lately, under a name or from an address; known names or not.
sign_in_failure = sa.Table(
    "sign_in_failure",
    metadata,
    #: SHA-256 of it: some type their password where the name belongs.
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_at", UtcTime, nullable=False),
    #: Nobody may try before.
    sa.Column("locked_until", UtcTime),
    sa.Index("ix_sign_in_failure_last_at", "last_at"),
)

team = sa.Table(
    "team",
    metadata,
    row_id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    #: Its members see the cases of these channels; empty: of all.
    sa.Column("channels", sa.JSON, nullable=False, default=list),
    #: Its members know these knowledge bases; empty: all.
    sa.Column("knowledge_bases", sa.JSON, nullable=False, default=list),
)

team_member = sa.Table(
    "team_member",
    metadata,
    sa.Column("team_id", BigId, sa.ForeignKey("team.id"), primary_key=True),
    sa.Column("agent_id", BigId, sa.ForeignKey("agent.id"), primary_key=True),
    sa.Index("ix_team_member_agent_id", "agent_id"),
)

#: Who did what; rows are only ever added: triggers of the database refuse anything else.
audit = sa.Table(
    "audit",
    metadata,
    row_id(),
    sa.Column("at", UtcTime, nullable=False),
    #: An agent's name; "token" for who came with a bearer token; "channel/user" from a chat.
    sa.Column("actor", sa.Text, nullable=False),
    #: A stable name: "sign_in", "case_claimed", "proposal_approved".
    sa.Column("action", sa.Text, nullable=False),
    #: What it was done to: "conversation 12", "agent anna".
    sa.Column("target", sa.Text, nullable=False, default=""),
    #: Never customers' words, never secrets.
    sa.Column("details", sa.JSON, nullable=False, default=dict),
)

#: What agents write again and again.
canned_answer = sa.Table(
    "canned_answer",
    metadata,
    row_id(),
    #: Typed to find it.
    sa.Column("title", sa.Text, nullable=False, unique=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
)

#: A case that is shown in a chat of agents, in a thread of its own.
case_thread = sa.Table(
    "case_thread",
    metadata,
    sa.Column("case_id", BigId, sa.ForeignKey("case.id"), primary_key=True),
    #: The channel of the agents' chat.
    sa.Column("channel", sa.Text, primary_key=True),
    #: The thread: a conversation too, with agents instead of a customer.
    of_conversation(),
    #: The transcript is shown up to this message of the customer's conversation.
    sa.Column("shown_message_id", BigId, nullable=False, default=0),
    #: What was shown last of who has the case: "waiting", "agent anna", "closed".
    sa.Column("shown_state", sa.Text, nullable=False, default=""),
    sa.Index("ix_case_thread_conversation_id", "conversation_id"),
    sa.Index(
        "ix_case_thread_open",
        "case_id",
        sqlite_where=sa.text("shown_state != 'closed'"),
        postgresql_where=sa.text("shown_state != 'closed'"),
    ),
)

#: An entry for a knowledge base that a person has to look at first.
proposal = sa.Table(
    "proposal",
    metadata,
    row_id(),
    #: The case whose agent answered it; NULL: somebody wrote it at the desk.
    sa.Column("case_id", BigId, sa.ForeignKey("case.id"), unique=True),
    #: The turn whose answer it corrects.
    sa.Column("turn_id", BigId, sa.ForeignKey("turn.id")),
    sa.Column("channel", sa.Text, nullable=False, default=""),
    #: Where it would belong; "": nobody knows.
    sa.Column("knowledge_base", sa.Text, nullable=False, default=""),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    #: Other ways to ask the same.
    sa.Column("variants", sa.JSON, nullable=False, default=list),
    #: open | approved | declined
    sa.Column("state", sa.Text, nullable=False, default="open"),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", UtcTime),
    #: The entry that approval made.
    sa.Column("entry_id", sa.Text),
    sa.Index("ix_proposal_state_id", "state", "id"),
    sa.Index("ix_proposal_turn_id", "turn_id"),
)
