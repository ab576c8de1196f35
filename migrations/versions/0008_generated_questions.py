"""generated questions

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("knowledge_document") as batch_op:
        batch_op.add_column(sa.Column("asked", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("knowledge_chunk") as batch_op:
        batch_op.add_column(sa.Column("asks", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM knowledge_chunk WHERE asks IS NOT NULL")
    # A batch would make these tables anew, under the rows that point to them.
    op.drop_column("knowledge_chunk", "asks")
    op.drop_column("knowledge_document", "asked")
