"""The schema of a database: made, checked against the tables, taken back, and refused if newer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from kfbot.errors import StoreUnavailable
from kfbot.store import tables
from kfbot.store.engine import MIGRATIONS, Database
from kfbot.store.schema import find_schema
from tests.postgres import new_database, postgres_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    with new_database(request.getfixturevalue("server")) as made:
        yield made


def on(url: str, work: Callable[[sa.Connection], Any]) -> Any:
    """Do something on a connection of its own and commit it."""

    async def run() -> Any:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def alembic(url: str, what: Callable[..., None], *arguments: str) -> None:
    """Run an alembic command on a database."""

    def work(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        what(config, *arguments)

    on(url, work)


def upgrade(url: str) -> None:
    async def run() -> None:
        async with Database(url) as database:
            await database.upgrade()

    asyncio.run(run())


def table_names(url: str) -> set[str]:
    names: set[str] = on(url, lambda connection: set(sa.inspect(connection).get_table_names()))
    return names - {"alembic_version"}


def revision(url: str) -> str | None:
    found: str | None = on(
        url,
        lambda connection: connection.scalar(sa.text("SELECT version_num FROM alembic_version")),
    )
    return found


def test_an_empty_database_gets_every_table(url: str) -> None:
    upgrade(url)
    assert table_names(url) == set(tables.metadata.tables)


def test_upgrading_again_changes_nothing(url: str) -> None:
    upgrade(url)
    at = revision(url)
    upgrade(url)
    assert revision(url) == at


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(url: str) -> None:
    upgrade(url)
    alembic(url, command.check)


def test_every_migration_can_be_taken_back_and_made_again(url: str) -> None:
    upgrade(url)
    alembic(url, command.downgrade, "base")
    assert table_names(url) == set()
    upgrade(url)
    assert table_names(url) == set(tables.metadata.tables)
    alembic(url, command.check)


def test_a_database_of_a_newer_kfbot_is_refused_and_left_as_it_is(url: str) -> None:
    upgrade(url)
    newer = sa.text("UPDATE alembic_version SET version_num = '9999'")
    on(url, lambda connection: connection.execute(newer))
    with pytest.raises(StoreUnavailable, match=r"'9999'.*is it of a newer kfbot\?"):
        upgrade(url)
    assert revision(url) == "9999"
    assert asyncio.run(find_schema(url)).state == "newer"


def test_a_migration_that_breaks_off_leaves_nothing_behind(url: str) -> None:
    # In the way of one of the last tables.
    on(url, lambda connection: connection.execute(sa.text("CREATE TABLE knowledge_chunk (x TEXT)")))
    with pytest.raises(StoreUnavailable, match="already exists"):
        upgrade(url)
    assert table_names(url) == {"knowledge_chunk"}


def test_looking_at_a_schema_makes_no_database(tmp_path: Path) -> None:
    file = tmp_path / "none.sqlite3"
    schema = asyncio.run(find_schema(f"sqlite:///{file}"))
    assert (schema.state, schema.current) == ("new", None)
    assert not file.exists()


def test_the_state_of_a_schema_is_known(url: str) -> None:
    upgrade(url)
    assert asyncio.run(find_schema(url)).state == "current"


def test_there_is_one_history_with_one_head() -> None:
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1
