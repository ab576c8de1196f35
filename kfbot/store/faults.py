"""The database's own errors as ours, and which of them may pass."""

from __future__ import annotations

import sqlite3
from types import TracebackType

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from kfbot.errors import StoreUnavailable
from kfbot.observability import metrics

#: Deadlock and serialisation failure: nothing was stored, and again it may succeed.
_UNDONE = {"40P01", "40001"}
#: Classes of PostgreSQL's errors that are no operation's own: the connection, the transaction,
#: its being undone, a lack of room, locks, a shutdown, the machine, a damaged file.
_UNAVAILABLE = {"08", "25", "40", "53", "55", "57", "58", "XX"}


class mapped:
    """Turns the database's own errors into ours at the edge of the room."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, DBAPIError | sqlite3.Error | OSError | sa.exc.TimeoutError):
            metrics.store_failed()
        if isinstance(exc, DBAPIError):
            raise StoreUnavailable(f"database: {_plain(exc)}") from exc
        if isinstance(exc, CommandError):
            raise StoreUnavailable(f"database schema: {exc}; is it of a newer kfbot?") from exc
        if isinstance(exc, (sqlite3.Error, OSError, sa.exc.TimeoutError)):
            raise StoreUnavailable(f"database: {exc or type(exc).__name__}") from exc


def _plain(error: DBAPIError) -> str:
    """One line, without the driver's class names."""
    return str(error.orig).replace("\n", " ")


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def is_undone(error: DBAPIError) -> bool:
    """True where nothing was stored for certain, and the same may well succeed at once."""
    if error.connection_invalidated:
        # Without a statement it was the commit, which may have come through.
        return error.statement is not None
    return _sqlstate(error) in _UNDONE


def is_unavailable(error: DBAPIError) -> bool:
    """True where the database failed, not the operation: its neighbours failed with it."""
    if error.connection_invalidated:
        return True
    if (state := _sqlstate(error)) is not None:
        return state[:2] in _UNAVAILABLE
    # SQLite's damaged files have no class of their own.
    return isinstance(error, sa.exc.OperationalError) or type(error) is sa.exc.DatabaseError
