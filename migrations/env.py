"""Runs migrations on the connection that the store hands over, or on `-x url=…` by hand."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from kfbot.settings import load_settings
from kfbot.store.engine import Database
from kfbot.store.tables import UtcTime, metadata


def _render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcTime) else False


def _migrate(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter a table in place; alembic then copies it.
        render_as_batch=True,
        render_item=_render,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _connect_and_migrate() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url") or load_settings().database_url
    async with Database(url) as database:
        await database.migrate(_migrate)


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _migrate(handed_over)
else:
    asyncio.run(_connect_and_migrate())
