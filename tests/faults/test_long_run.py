"""Every channel at once, while everything goes wrong: one of each always, hours on request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.long_run import Course, Outcome, long_run
from tests.load.lines import StandInLine
from tests.load.matrix_line import MatrixLine
from tests.platforms.synapse import synapse_python
from tests.postgres import new_database

#: Given to `make soak`.
SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
OUT = Path(os.environ.get("SOAK_OUT") or Path(__file__).resolve().parents[2] / "var" / "soak")
#: sqlite or postgresql.
DATABASE = os.environ.get("SOAK_DATABASE", "sqlite")
#: What a process may use more of at the end than after its warm-up.
MOST_GROWTH = 1.05
#: Where a run is shorter nothing is said about growth.
OLD_ENOUGH_SECONDS = 300.0


@pytest.fixture
def matrix(request: pytest.FixtureRequest) -> Sequence[StandInLine]:
    """A line through a real homeserver, where there is one."""
    if synapse_python() is None:
        return []
    return [MatrixLine("matrix", request.getfixturevalue("synapse"))]


@pytest.fixture
def empty_postgres(server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without a table."""
    with new_database(server) as url:
        yield url


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where the bot keeps what is said; None: in SQLite."""
    assert DATABASE in ("sqlite", "postgresql"), f"SOAK_DATABASE={DATABASE}"
    return request.getfixturevalue("empty_postgres") if DATABASE == "postgresql" else None


def expect_nothing_lost(outcome: Outcome) -> None:
    story = f"{outcome}\n{outcome.tail}"
    assert outcome.verdict.faultless, story
    assert len(outcome.verdict.unexplained) <= outcome.unheard, story
    assert not outcome.agent_faults, story
    assert not outcome.silent, story
    assert outcome.exit_status == 0, story


@pytest.mark.slow
@pytest.mark.asyncio
async def test_every_channel_lives_through_kills_locks_reloads_and_platforms_in_trouble(
    tmp_path: Path, matrix: Sequence[StandInLine], database_url: str | None
) -> None:
    course = Course(seconds=6.0, conversations=45, pause_seconds=2.0, locked_seconds=2.0)
    outcome = await long_run(
        tmp_path / "bot", course, further=matrix, database_url=database_url, out=tmp_path / "out"
    )
    expect_nothing_lost(outcome)
    faults = {"kill -9", "platforms in trouble", "database locked", "reload", "agent"}
    assert outcome.marks.keys() == faults
    assert outcome.agent_rounds == len(outcome.marks["agent"])
    assert (tmp_path / "out" / "soak.csv").read_text().count("\n") == len(outcome.samples) + 1
    assert (tmp_path / "out" / "soak.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
@pytest.mark.asyncio
async def test_five_hundred_conversations_lose_nothing_and_memory_stays(
    tmp_path: Path,
    matrix: Sequence[StandInLine],
    database_url: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    course = Course(seconds=SECONDS, conversations=500, pause_seconds=50.0)
    outcome = await long_run(
        tmp_path / "bot", course, further=matrix, database_url=database_url, out=OUT
    )
    with capsys.disabled():
        print(f"\n{outcome}\n{OUT / 'soak.png'}, {OUT / 'soak.csv'}")
    expect_nothing_lost(outcome)
    assert outcome.agent_rounds
    if SECONDS >= OLD_ENOUGH_SECONDS:
        assert outcome.growth is not None
        assert outcome.growth.rss <= MOST_GROWTH, outcome.growth
        assert outcome.growth.files <= 1.2, outcome.growth
        assert outcome.growth.threads <= 1.2, outcome.growth
