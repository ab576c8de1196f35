"""What schema a database has, without changing anything in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from kfbot.store.engine import MIGRATIONS, Database


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision of a database (None: it is empty) beside the newest that we know."""

    current: str | None
    newest: str
    #: False where a newer kfbot made it.
    known: bool = True

    @property
    def state(self) -> Literal["new", "behind", "current", "newer"]:
        """What is to be done: nothing but for "behind" and "newer"."""
        if self.current is None:
            return "new"
        if not self.known:
            return "newer"
        return "current" if self.current == self.newest else "behind"


async def find_schema(url: str) -> Schema:
    """Look at a database.

    Raises:
        SettingsError: The URL is no database URL.
        StoreUnavailable: It cannot be reached or read.
    """
    scripts = _scripts()
    newest = scripts.get_current_head() or ""
    if _is_missing(url):
        return Schema(None, newest)
    async with Database(url) as database:
        current = await database.read(_current)
    return Schema(current, newest, current is None or is_known(current))


def is_known(revision: str) -> bool:
    """False for the revision of a newer kfbot."""
    return revision in {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config)


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_missing(url: str) -> bool:
    """True for an SQLite file that is not there: connecting would make it."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return False
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return False
    return not Path(str(parsed.database)).exists()
