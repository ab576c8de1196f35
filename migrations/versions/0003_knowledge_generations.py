"""knowledge generations

Revision: 0003, after 0002
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "knowledge_file",
        sa.Column("knowledge_base", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("read_key", sa.Text(), nullable=False),
        sa.Column("unreadable", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge_base"],
            ["knowledge_base.name"],
            name=op.f("fk_knowledge_file_knowledge_base_knowledge_base"),
        ),
        sa.PrimaryKeyConstraint("knowledge_base", "path", name=op.f("pk_knowledge_file")),
    )
    with op.batch_alter_table("knowledge_base", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("previous_revision", sa.Text(), server_default="", nullable=False)
        )
        batch_op.add_column(
            sa.Column("rolled_back", sa.Boolean(), server_default="0", nullable=False)
        )
        batch_op.add_column(sa.Column("counts", sa.JSON(), server_default="{}", nullable=False))

    with op.batch_alter_table("knowledge_chunk", schema=None) as batch_op:
        batch_op.add_column(sa.Column("page", sa.Integer(), server_default="0", nullable=False))

    with _chunks_kept(), op.batch_alter_table("knowledge_document", schema=None) as batch_op:
        batch_op.add_column(sa.Column("since", sa.Integer(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("until", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column("embedding_key", sa.Text(), server_default="", nullable=False)
        )
        batch_op.add_column(sa.Column("fields", sa.JSON(), server_default="{}", nullable=False))
        batch_op.add_column(
            sa.Column("signature", sa.LargeBinary(), server_default="", nullable=False)
        )
        batch_op.drop_constraint(
            batch_op.f("uq_knowledge_document_knowledge_base_document_id"), type_="unique"
        )
        batch_op.create_index(
            "ix_knowledge_document_until", ["knowledge_base", "until"], unique=False
        )
        batch_op.create_index(
            "uq_knowledge_document", ["knowledge_base", "document_id", "since"], unique=True
        )


def downgrade() -> None:
    # Only what is in force.
    op.execute(
        "DELETE FROM knowledge_document WHERE NOT EXISTS (SELECT 1 FROM knowledge_base AS base"
        " WHERE base.name = knowledge_base AND since <= base.generation"
        " AND (until IS NULL OR until > base.generation))"
    )
    with _chunks_kept(), op.batch_alter_table("knowledge_document", schema=None) as batch_op:
        batch_op.drop_index("uq_knowledge_document")
        batch_op.drop_index("ix_knowledge_document_until")
        batch_op.create_unique_constraint(
            batch_op.f("uq_knowledge_document_knowledge_base_document_id"),
            ["knowledge_base", "document_id"],
        )
        batch_op.drop_column("signature")
        batch_op.drop_column("fields")
        batch_op.drop_column("embedding_key")
        batch_op.drop_column("until")
        batch_op.drop_column("since")

    # A batch would make these tables anew as well, under the rows that point to them.
    op.drop_column("knowledge_chunk", "page")
    for name in ("counts", "rolled_back", "previous_revision"):
        op.drop_column("knowledge_base", name)

    op.drop_table("knowledge_file")


@contextmanager
def _chunks_kept() -> Iterator[None]:
    """SQLite makes a changed table anew, and with the old one its chunks would go."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        op.execute("CREATE TABLE knowledge_chunk_kept AS SELECT * FROM knowledge_chunk")
        op.execute("DELETE FROM knowledge_chunk")
    yield
    if is_sqlite:
        op.execute("INSERT INTO knowledge_chunk SELECT * FROM knowledge_chunk_kept")
        op.execute("DROP TABLE knowledge_chunk_kept")
