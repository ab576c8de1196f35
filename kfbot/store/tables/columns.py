"""What all tables are made of: their common metadata, the types and columns that they share."""

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


def row_id() -> sa.Column[int]:
    """A number of the row's own."""
    return sa.Column("id", BigId, primary_key=True)


def of_conversation() -> sa.Column[int]:
    """The conversation that the row belongs to."""
    return sa.Column("conversation_id", BigId, sa.ForeignKey("conversation.id"), nullable=False)
