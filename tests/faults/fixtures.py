"""Fixtures of the tests that kill: the databases, and the table that is printed at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.scene import Store
from tests.faults.table import Row, lines
from tests.postgres import new_database


@pytest.fixture(scope="session")
def fault_table(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Rows that are printed when all tests are over."""
    rows: list[Row] = []
    yield rows
    plugins = request.config.pluginmanager
    reporter, capture = plugins.get_plugin("terminalreporter"), plugins.get_plugin("capturemanager")
    if rows and reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.section("faults")
            for line in lines(rows):
                reporter.line(line)


@pytest.fixture
def replicas(server: str) -> Iterator[Store]:
    """An empty PostgreSQL database for two replicas."""
    with new_database(server) as url:
        yield Store("postgresql", url, replicas=2)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty database: SQLite for one process, PostgreSQL for two replicas."""
    if request.param == "sqlite":
        return Store("sqlite")
    found: Store = request.getfixturevalue("replicas")
    return found
