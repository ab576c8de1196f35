"""To whom a case is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfbot.agents import Agent, Team
from kfbot.handoff.assignment import Candidate, choose

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
SHOP, MAIL = Team(name="shop", channels=("shop",)), Team(name="mail", channels=("mail",))
TEA = Team(name="tea", channels=("shop",), knowledge_bases=("tea",))


def candidate(name: str, *teams: Team, **fields: Any) -> Candidate:
    own = {key: fields.pop(key) for key in ("role", "away", "capacity") if key in fields}
    agent = Agent(name=name, display_name=name, teams=teams or None, **own)
    values: dict[str, Any] = {"seen_at": NOW, "assigned_at": None, "open_cases": 0}
    return Candidate(agent=agent, **values | fields)


def ago(**by: float) -> datetime:
    return NOW - timedelta(**by)


def test_it_is_whoever_was_given_one_the_longest_time_ago() -> None:
    anna, bob = (
        candidate("anna", assigned_at=ago(hours=1)),
        candidate("bob", assigned_at=ago(days=1)),
    )
    assert choose([anna, bob], "shop", "", NOW) == "bob"
    assert choose([anna, bob, candidate("new")], "shop", "", NOW) == "new"
    assert choose([anna, bob], "shop", "", NOW, without=["bob"]) == "anna"


@pytest.mark.parametrize(
    "fields",
    [
        {"seen_at": ago(seconds=46)},
        {"seen_at": None},
        {"away": True},
        {"role": "viewer"},
        {"open_cases": 5},
        {"open_cases": 1, "capacity": 1},
        {"capacity": 0},
    ],
)
def test_who_is_not_there_or_has_no_room_gets_none(fields: dict[str, Any]) -> None:
    assert choose([candidate("anna", **fields)], "shop", "", NOW) is None


def test_a_case_is_given_only_to_those_who_may_see_it() -> None:
    agents = [candidate("anna", MAIL), candidate("bob", TEA)]
    assert choose(agents, "shop", "coffee", NOW) is None
    assert choose(agents, "shop", "tea", NOW) == "bob"
    assert choose(agents, "mail", "coffee", NOW) == "anna"


def test_whose_team_names_the_knowledge_base_comes_first() -> None:
    agents = [candidate("anna", SHOP), candidate("bob", SHOP, TEA, assigned_at=ago(seconds=1))]
    assert choose(agents, "shop", "tea", NOW) == "bob"
    assert choose(agents, "shop", "", NOW) == "anna"
