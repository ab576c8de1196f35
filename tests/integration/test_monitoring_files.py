"""Dashboard, alerts and the operations guide ask for what /metrics shows, and for all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.conftest import ServedBot

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).resolve().parents[2]


async def names(bot: ServedBot) -> set[str]:
    """Of every series that can be asked for, whether there is a sample yet or not."""
    async with bot.http.get(f"{bot.url}/metrics") as response:
        text = await response.text()
    found: set[str] = set()
    for family in text_string_to_metric_families(text):
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_count", "_sum"),
        }.get(family.type, ("",))
        found |= {family.name + suffix for suffix in suffixes}
    return found


def asked_for(expression: str) -> set[str]:
    """The metrics that a PromQL expression names."""
    plain = re.sub(r"\$(?:__\w+|\w+)", "5m", expression)
    tree = promql_parser.parse(plain)
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            found.add(node.name)
        for name in ("expr", "lhs", "rhs", "vector_selector", "selector", "param"):
            if (child := getattr(node, name, None)) is not None:
                walk(child)
        for child in getattr(node, "args", None) or ():
            walk(child)

    walk(tree)
    return found


def panels() -> list[dict[str, Any]]:
    board = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
    return [one for one in board["panels"] if one["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    text = (ROOT / "deploy/prometheus-alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


async def test_the_dashboard_asks_only_for_what_is_exposed(bot: ServedBot) -> None:
    known = await names(bot)
    targets = [target["expr"] for panel in panels() for target in panel["targets"]]
    asked = {name for expression in targets for name in asked_for(expression)}
    assert len(asked) > 30
    assert asked <= known
    unshown = {name for name in known if name.startswith("kfbot_")} - asked
    parts = {re.sub("_(count|sum|bucket)$", "", name) for name in asked}
    assert {re.sub("_(count|sum|bucket)$", "", name) for name in unshown} - parts == {
        "kfbot_build_info",
        "kfbot_events_dead_total",
        "kfbot_knowledge_load_seconds",
    }


async def test_the_alerts_ask_only_for_what_is_exposed_and_say_what_to_do(bot: ServedBot) -> None:
    known = await names(bot)
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) > 12
    for rule in found:
        assert asked_for(rule["expr"]) - {"up"} <= known, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "runbook"}


async def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
    assert board["schemaVersion"] >= 36
    ids = [one["id"] for one in board["panels"]]
    assert len(set(ids)) == len(ids)
    for one in board["panels"]:
        place = one["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert one["type"] in ("row", "stat", "timeseries", "heatmap")
        assert all(
            target["datasource"]["uid"] == "${datasource}" for target in one.get("targets", [])
        )
    taken = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in board["panels"]]
    assert len(set(taken)) == len(taken)


async def test_the_table_of_metrics_is_what_is_exposed(bot: ServedBot) -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(kfbot_\w+)` \|", text, re.MULTILINE))
    exposed = {re.sub("_(bucket|count|sum)$", "", name) for name in await names(bot)}
    assert told == {name for name in exposed if name.startswith("kfbot_")}


async def test_every_alert_is_in_the_operations_guide() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(Kfbot\w+)` \|", text, re.MULTILINE))
    assert told == {rule["alert"] for rule in rules()}
