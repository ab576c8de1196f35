"""Nobody who works as the bot changes what the audit log says; on both databases."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from kfbot.errors import SettingsError
from kfbot.store import tables
from kfbot.store.audit import AuditStore
from kfbot.store.engine import Database
from kfbot.store.roles import grant
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import staged

pytestmark = pytest.mark.asyncio
AUDIT = tables.audit


@pytest.fixture
def database_url(url: str) -> str:
    return url


@pytest_asyncio.fixture
async def app_role(database: Database) -> AsyncIterator[str]:
    """A role that may only log in."""
    if database.is_sqlite:
        pytest.skip("SQLite has no roles")
    name = f"App-{secrets.token_hex(4)}"
    await executed(database, f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'not a secret'")
    yield name
    await executed(database, f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


async def executed(database: Database, *statements: str) -> None:
    def run(connection: sa.Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement).close()

    await database.write(run)


def as_role(database: Database, role: str) -> Database:
    url = database.url.set(username=role, password="not a secret")
    return Database(url.render_as_string(hide_password=False))


async def refused(database: Database, statement: str, reason: str) -> None:
    with pytest.raises(DBAPIError, match=reason):
        await executed(database, statement)


async def test_what_is_noted_can_neither_be_changed_nor_removed(
    database: Database, clock: Clock
) -> None:
    audit = AuditStore(database, clock)
    await audit.add("anna", "sign_in")
    reason = "the audit log is only ever added to"
    await refused(database, "UPDATE audit SET actor = 'nobody'", reason)
    await refused(database, "DELETE FROM audit", reason)
    if not database.is_sqlite:
        await refused(database, "TRUNCATE audit", reason)
    await audit.add("anna", "sign_out")
    assert [deed.actor for deed in await audit.list()] == ["anna", "anna"]


async def test_the_bots_own_role_works_and_cannot_touch_the_audit_log(
    database: Database, clock: Clock, app_role: str
) -> None:
    await grant(database, app_role)
    async with as_role(database, app_role) as limited:
        # As at every start.
        await limited.upgrade()
        async with staged(limited, clock, FakeAdapter()) as stage:
            [answer] = await stage.customer_says("怎么开发票")
            assert answer.text == "在订单页申请电子发票。"
            done = await stage.application.privacy.erase("shop", "customer-1", actor="command")
            assert done is not None
            assert done.conversations == 1
        for statement in (
            "UPDATE audit SET actor = 'nobody'",
            "DELETE FROM audit",
            "TRUNCATE audit",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            await refused(limited, statement, "permission denied")
        for statement in (
            "ALTER TABLE audit DISABLE TRIGGER ALL",
            "DROP TRIGGER audit_unchanged ON audit",
            "DROP FUNCTION kfbot_audit_refuse CASCADE",
        ):
            await refused(limited, statement, "must be owner")
        assert len(await AuditStore(limited, clock).list()) == 1


async def test_a_role_that_cannot_be_limited_is_refused_in_one_line(database: Database) -> None:
    if database.is_sqlite:
        with pytest.raises(SettingsError, match="SQLite has no roles"):
            await grant(database, "kfbot_app")
        return
    with pytest.raises(SettingsError, match="there is no such role"):
        await grant(database, "no_such_role")
    owner = await database.read(lambda c: c.execute(sa.text("SELECT current_user")).scalar_one())
    with pytest.raises(SettingsError, match="take another role"):
        await grant(database, owner)
