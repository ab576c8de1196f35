"""PostgreSQL: what the role that the bot works under may do, where another one owns the tables.

The owner upgrades the schema. The bot's own role reads and writes, but to the audit log it can
only add, and neither it nor whoever takes its password can switch off what guards that.
"""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.errors import SettingsError
from kfbot.store.engine import Database

_ROLE = sa.text(
    "SELECT rolsuper AS is_superuser, pg_has_role(rolname, current_user, 'member') AS is_owner"
    " FROM pg_roles WHERE rolname = :role"
)


async def grant(database: Database, role: str) -> None:
    """Let a role work as the bot, and do no more; the database is opened as the tables' owner.

    Raises:
        SettingsError: It is no PostgreSQL, or no role whose rights could be limited.
        StoreUnavailable: Nothing was changed.
    """
    if database.is_sqlite:
        raise SettingsError("--app-role: SQLite has no roles; its triggers guard the audit log")
    fault = await database.write(lambda connection: _grant(connection, role))
    if fault:
        raise SettingsError(f"--app-role {role}: {fault}")


def _grant(connection: sa.Connection, role: str) -> str:
    """Grant, and take away; returns why it cannot be done, "" once it is."""
    row = connection.execute(_ROLE, {"role": role}).one_or_none()
    if row is None:
        return "there is no such role: CREATE ROLE … LOGIN makes it"
    if row.is_superuser or row.is_owner:
        return "it may do everything that the owner of the tables may: take another role"
    quote = connection.dialect.identifier_preparer.quote
    [schema] = connection.execute(sa.text("SELECT current_schema()")).scalars()
    to, tables = quote(role), f"ALL TABLES IN SCHEMA {quote(schema)}"
    for statement in (
        f"GRANT USAGE ON SCHEMA {quote(schema)} TO {to}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {to}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {quote(schema)} TO {to}",
        f"REVOKE ALL ON audit, alembic_version FROM {to}",
        f"GRANT SELECT, INSERT ON audit TO {to}",
        f"GRANT SELECT ON alembic_version TO {to}",
    ):
        connection.exec_driver_sql(statement)
    return ""
