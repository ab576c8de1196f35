"""calibration

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calibration",
        sa.Column("knowledge_base", sa.Text(), nullable=False),
        sa.Column("embedding_key", sa.Text(), nullable=False),
        sa.Column("signals", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("adjustments", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge_base"],
            ["knowledge_base.name"],
            name=op.f("fk_calibration_knowledge_base_knowledge_base"),
        ),
        sa.PrimaryKeyConstraint("knowledge_base", name=op.f("pk_calibration")),
    )


def downgrade() -> None:
    op.drop_table("calibration")
