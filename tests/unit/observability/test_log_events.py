"""Every record of INFO and above bears a stable event, and the operations guide lists it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from kfbot.handoff.limits import Action
from kfbot.store.conversations import OwnerChange

ROOT = Path(__file__).resolve().parents[3]
LEVELS = ("info", "warning", "error", "exception", "critical", "log")
#: Events whose names are put together, by how the source says it.
MADE = {
    "f'action_{what}'": {"action_called", "action_skipped", "action_system_down"},
    "f'case_{step.action}'": {f"case_{one}" for one in get_args(Action)},
    "f'conversation_{change}'": {f"conversation_{one}" for one in get_args(OwnerChange)},
    "f'dead_letter_{done}'": {"dead_letter_replayed", "dead_letter_discarded"},
    "action": {"entry_added", "entry_removed"},
}


class Call:
    """A call of a logger."""

    def __init__(self, file: Path, tree: ast.Module, node: ast.Call) -> None:
        self._tree = tree
        self._node = node
        self.place = f"{file.relative_to(ROOT)}:{node.lineno}"

    def events(self) -> set[str]:
        """The events that it may bear; empty: none."""
        given = [one.value for one in self._node.keywords if one.arg == "extra"]
        return self._in(given[0]) if given else set()

    def _in(self, node: ast.expr) -> set[str]:
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {
                name
                for key, value in pairs
                if isinstance(key, ast.Constant) and key.value == "event"
                for name in _spelled(value)
            }
        if isinstance(node, ast.BinOp):
            # The right one wins.
            return self._in(node.right) or self._in(node.left)
        if isinstance(node, ast.Call):
            return self._returned(ast.unparse(node.func))
        return self._assigned(ast.unparse(node))

    def _assigned(self, name: str) -> set[str]:
        """What is written into a variable before this line, the last time."""
        found = [
            one
            for one in ast.walk(self._tree)
            if isinstance(one, ast.Assign)
            and ast.unparse(one.targets[0]) == name
            and one.lineno < self._node.lineno
        ]
        return self._in(max(found, key=lambda one: one.lineno).value) if found else set()

    def _returned(self, name: str) -> set[str]:
        for one in ast.walk(self._tree):
            if isinstance(one, ast.FunctionDef) and one.name == name:
                last = one.body[-1]
                assert isinstance(last, ast.Return)
                assert last.value is not None
                return self._in(last.value)
        return set()


def _spelled(value: ast.expr) -> set[str]:
    if isinstance(value, ast.Constant):
        return {str(value.value)}
    return MADE[ast.unparse(value)]


def calls() -> Iterator[Call]:
    for room in ("kfbot", "adapters", "knowledge"):
        for file in sorted((ROOT / room).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if "logger" not in text and "logging" not in text:
                continue
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in ("logger", "_logger", "logging", "log")
                ):
                    yield Call(file, tree, node)


@pytest.fixture(scope="module")
def found() -> list[Call]:
    return list(calls())


def test_every_record_bears_an_event(found: list[Call]) -> None:
    assert len(found) > 150
    assert [call.place for call in found if not call.events()] == []


def test_events_are_names_of_one_form(found: list[Call]) -> None:
    names = {name for call in found for name in call.events()}
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []


def test_the_operations_guide_lists_every_event_and_no_other(found: list[Call]) -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    logs = text.partition("\n### ERROR\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+)`(?= \||, |$| and)", logs, re.MULTILINE))
    assert {name for call in found for name in call.events()} == told
