"""agents

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CASE = (
    "confidence",
    "passages",
    "outcome",
    "closed_by",
    "noticed_at",
    "notices",
    "waiting_since",
    "due_at",
    "last_reply_at",
    "first_reply_at",
    "assigned_at",
    "assigned_to",
    "knowledge_base",
)


def upgrade() -> None:
    op.create_table(
        "agent",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("away", sa.Boolean(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent")),
        sa.UniqueConstraint("name", name=op.f("uq_agent_name")),
    )
    op.create_table(
        "sign_in_failure",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_failure")),
    )
    with op.batch_alter_table("sign_in_failure") as batch_op:
        batch_op.create_index("ix_sign_in_failure_last_at", ["last_at"], unique=False)

    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "canned_answer",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canned_answer")),
        sa.UniqueConstraint("title", name=op.f("uq_canned_answer_title")),
    )
    op.create_table(
        "team",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channels", sa.JSON(), nullable=False),
        sa.Column("knowledge_bases", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team")),
        sa.UniqueConstraint("name", name=op.f("uq_team_name")),
    )
    op.create_table(
        "agent_session",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agent.id"], name=op.f("fk_agent_session_agent_id_agent")
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_agent_session")),
    )
    with op.batch_alter_table("agent_session") as batch_op:
        batch_op.create_index("ix_agent_session_agent_id", ["agent_id"], unique=False)
        batch_op.create_index("ix_agent_session_expires_at", ["expires_at"], unique=False)

    op.create_table(
        "team_member",
        sa.Column("team_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("agent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agent.id"], name=op.f("fk_team_member_agent_id_agent")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"], name=op.f("fk_team_member_team_id_team")),
        sa.PrimaryKeyConstraint("team_id", "agent_id", name=op.f("pk_team_member")),
    )
    with op.batch_alter_table("team_member") as batch_op:
        batch_op.create_index("ix_team_member_agent_id", ["agent_id"], unique=False)

    op.create_table(
        "case_thread",
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column(
            "conversation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "shown_message_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("shown_state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_case_thread_case_id_case")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.id"],
            name=op.f("fk_case_thread_conversation_id_conversation"),
        ),
        sa.PrimaryKeyConstraint("case_id", "channel", name=op.f("pk_case_thread")),
    )
    with op.batch_alter_table("case_thread") as batch_op:
        batch_op.create_index("ix_case_thread_conversation_id", ["conversation_id"], unique=False)
        batch_op.create_index(
            "ix_case_thread_open",
            ["case_id"],
            unique=False,
            sqlite_where=sa.text("shown_state != 'closed'"),
            postgresql_where=sa.text("shown_state != 'closed'"),
        )

    op.create_table(
        "proposal",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("turn_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("knowledge_base", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("variants", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entry_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_proposal_case_id_case")),
        sa.ForeignKeyConstraint(["turn_id"], ["turn.id"], name=op.f("fk_proposal_turn_id_turn")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
        sa.UniqueConstraint("case_id", name=op.f("uq_proposal_case_id")),
    )
    with op.batch_alter_table("proposal") as batch_op:
        batch_op.create_index("ix_proposal_state_id", ["state", "id"], unique=False)

    with op.batch_alter_table("turn") as batch_op:
        batch_op.add_column(
            sa.Column("knowledge_base", sa.Text(), server_default="", nullable=False)
        )
    with op.batch_alter_table("conversation") as batch_op:
        batch_op.create_index("ix_conversation_customer_id", ["customer_id"], unique=False)
    with op.batch_alter_table("outbox") as batch_op:
        batch_op.create_index("ix_outbox_message_id", ["message_id"], unique=False)
    with op.batch_alter_table("case") as batch_op:
        batch_op.add_column(sa.Column("passages", sa.JSON(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("confidence", sa.Float(), nullable=True))
        batch_op.add_column(
            sa.Column("knowledge_base", sa.Text(), server_default="", nullable=False)
        )
        batch_op.add_column(sa.Column("assigned_to", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("first_reply_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("last_reply_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("notices", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("closed_by", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("outcome", sa.Text(), nullable=True))
        batch_op.create_index(
            "ix_case_due_at",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        )
        batch_op.create_index("ix_case_opened_at", ["opened_at"], unique=False)
        batch_op.create_index("ix_case_conversation_id_id", ["conversation_id", "id"], unique=False)

    with op.batch_alter_table("button") as batch_op:
        batch_op.create_index(
            "ix_button_pressed_at",
            ["pressed_at"],
            unique=False,
            sqlite_where=sa.text("pressed_at IS NOT NULL"),
            postgresql_where=sa.text("pressed_at IS NOT NULL"),
        )
    op.execute('UPDATE "case" SET due_at = opened_at WHERE closed_at IS NULL')


def downgrade() -> None:
    for table in (
        "proposal",
        "case_thread",
        "team_member",
        "agent_session",
        "team",
        "canned_answer",
        "audit",
        "sign_in_failure",
        "agent",
    ):
        op.drop_table(table)
    with op.batch_alter_table("button") as batch_op:
        batch_op.drop_index("ix_button_pressed_at")
    with op.batch_alter_table("turn") as batch_op:
        batch_op.drop_column("knowledge_base")
    with op.batch_alter_table("conversation") as batch_op:
        batch_op.drop_index("ix_conversation_customer_id")
    with op.batch_alter_table("outbox") as batch_op:
        batch_op.drop_index("ix_outbox_message_id")
    with op.batch_alter_table("case") as batch_op:
        batch_op.drop_index("ix_case_due_at")
        batch_op.drop_index("ix_case_conversation_id_id")
        batch_op.drop_index("ix_case_opened_at")
        for column in _CASE:
            batch_op.drop_column(column)
