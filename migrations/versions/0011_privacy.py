"""privacy: who wrote what, what they were told, masking; an audit log that nobody edits

Revision: 0011, after 0010

A later migration that has SQLite copy the table `audit` must make its triggers again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: Name, table, columns, and of which rows alone.
_INDEXES = (
    ("ix_message_customer_id", "message", ["customer_id", "conversation_id"], "customer_id"),
    ("ix_message_turn_id", "message", ["turn_id"], "turn_id"),
    ("ix_button_conversation_id", "button", ["conversation_id"], None),
    ("ix_button_turn_id", "button", ["turn_id"], "turn_id"),
    ("ix_inbox_conversation_id_received_at", "inbox", ["conversation_id", "received_at"], None),
    ("ix_outbox_conversation_id_created_at", "outbox", ["conversation_id", "created_at"], None),
    ("ix_conversation_event_conversation_id", "conversation_event", ["conversation_id"], None),
    ("ix_event_delivery_event_uid", "event_delivery", ["event_uid"], None),
    ("ix_proposal_turn_id", "proposal", ["turn_id"], None),
)
_REFUSED = "the audit log is only ever added to"


def upgrade() -> None:
    op.create_table(
        "consent",
        sa.Column("customer_id", _ID, autoincrement=False, nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_consent_customer_id_customer")
        ),
        sa.PrimaryKeyConstraint("customer_id", "text_hash", name=op.f("pk_consent")),
    )
    op.add_column("conversation", sa.Column("masked_at", sa.DateTime(timezone=True)))
    # Not by a copy of the table, which alembic would make for the sake of the constraint: it holds
    # all that was ever said.
    column = "BIGINT" if _is_postgresql() else "INTEGER"
    op.execute(
        f"ALTER TABLE message ADD COLUMN customer_id {column}"
        " CONSTRAINT fk_message_customer_id_customer REFERENCES customer (id)"
    )
    for name, table, columns, only in _INDEXES:
        where = None if only is None else sa.text(f"{only} IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    if _is_postgresql():
        _protect_postgresql()
    else:
        _protect_sqlite()


def downgrade() -> None:
    for trigger in ("audit_unchanged", "audit_kept"):
        on = " ON audit" if _is_postgresql() else ""
        op.execute(f"DROP TRIGGER {trigger}{on}")
    if _is_postgresql():
        op.execute("DROP FUNCTION kfbot_audit_refuse()")
    for name, table, *_ in reversed(_INDEXES):
        op.drop_index(name, table_name=table)
    op.drop_column("message", "customer_id")
    op.drop_column("conversation", "masked_at")
    op.drop_table("consent")


def _is_postgresql() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")


def _protect_sqlite() -> None:
    for trigger, deed in (("audit_unchanged", "UPDATE"), ("audit_kept", "DELETE")):
        op.execute(
            f"CREATE TRIGGER {trigger} BEFORE {deed} ON audit"
            f" BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        )


def _protect_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION kfbot_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$"
    )
    for trigger, deed, each in (
        ("audit_unchanged", "UPDATE OR DELETE", "ROW"),
        ("audit_kept", "TRUNCATE", "STATEMENT"),
    ):
        op.execute(
            f"CREATE TRIGGER {trigger} BEFORE {deed} ON audit"
            f" FOR EACH {each} EXECUTE FUNCTION kfbot_audit_refuse()"
        )
