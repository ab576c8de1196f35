"""`make load` in small: every channel that is called is driven with real signatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfbot.cli.load_driving import Plan, drive
from kfbot.cli.load_measuring import Result, Tally
from tests.faults.faq import QUESTIONS
from tests.load.__main__ import capacity_of
from tests.load.scene import loaded

CHANNELS = {
    "api", "web", "webhook", "slack", "telegram", "feishu", "wecom", "openim", "chatwoot",
    "discord", "onebot", "dingtalk",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.asyncio
async def test_every_channel_answers_everybody_once(tmp_path: Path) -> None:
    async with loaded(tmp_path / "bot") as scene:
        plan = Plan(rate=18, seconds=2, conversations=3)
        result = await drive(scene.lines, QUESTIONS, plan)
        # Nobody who came before is taken for somebody else.
        again = await drive(scene.lines, QUESTIONS, Plan(rate=18, seconds=1, seed=1))
        story = scene.server.tail()
    assert result.tallies.keys() == again.tallies.keys() == CHANNELS
    for name, tally in [*result.tallies.items(), *again.tallies.items()]:
        assert tally.offered == len(tally.answers), f"{name}: {tally}\n{story}"
        assert not tally.further, f"{name}: {tally}\n{story}"
        assert not tally.refusals, f"{name}: {tally}\n{story}"
    assert min(tally.offered for tally in result.tallies.values()) > 1


def test_capacity_is_what_is_answered_while_more_waits() -> None:
    flood = Result({"one": Tally(answers=[1.0] * 90), "other": Tally(answers=[1.0] * 60)}, 2, 3, 0)
    assert capacity_of(flood) == 30
