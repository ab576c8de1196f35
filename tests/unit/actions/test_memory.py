"""What is remembered of an action, as it is stored."""

from __future__ import annotations

import json

import pytest

from kfbot.actions.memory import Memory, Running, memory_of
from kfbot.conversation import Choice

OFFERED = Running(
    action="status", began="event-1", language="zh", values={"order": "AB123456"}, by="model"
)
FULL = Memory(running=OFFERED, offered=OFFERED, given={"order": "AB123456"}, last="status")


@pytest.mark.parametrize("memory", [Memory(), FULL, Memory(offered=OFFERED)])
def test_what_is_stored_is_read_as_it_was(memory: Memory) -> None:
    assert memory_of(json.loads(json.dumps(memory.as_data()))) == memory


def test_what_was_stored_before_there_were_offers_is_still_read() -> None:
    running = {"action": "status", "began": "event-1", "language": "en", "values": {}}
    data = {"running": running, "given": {}, "last": "", "came": "", "expires_minutes": 30}
    assert memory_of(data) == Memory(
        running=Running(action="status", began="event-1", language="en")
    )


def test_an_offer_is_kept_and_open_until_other_choices_are_shown() -> None:
    memory = Memory(offered=OFFERED)
    assert not memory.is_empty
    assert memory.open_offer([Choice("status", "查订单")]) == OFFERED
    assert memory.open_offer([]) is None
    assert memory.open_offer([Choice("status", "查订单"), Choice("other", "别的")]) is None
    assert Memory().open_offer([]) is None
