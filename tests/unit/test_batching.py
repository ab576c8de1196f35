"""Which waiting events make a turn together, once edits and deletions are folded in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfbot.batching import next_batch
from kfbot.messages import (
    Attachment,
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Sender,
)
from kfbot.store.work import StoredEvent

NINE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
CHAT = ConversationId("shop", "chat")
CUSTOMER = Sender("7")
PHOTO = (Attachment("photo"),)


def said(number: int, text: str, **fields: Any) -> MessageReceived:
    values: dict[str, Any] = {"sender": CUSTOMER} | fields
    return MessageReceived(
        event_id=f"e{number}", conversation=CHAT, message_id=f"m{number}", sent_at=NINE,
        text=text, **values,
    )  # fmt: skip


def edited(number: int, text: str) -> MessageEdited:
    return MessageEdited(
        event_id=f"edit-{number}-{text}", conversation=CHAT, message_id=f"m{number}",
        sender=CUSTOMER, sent_at=NINE, text=text,
    )  # fmt: skip


def deleted(number: int) -> MessageDeleted:
    return MessageDeleted(
        event_id=f"gone-{number}", conversation=CHAT, message_id=f"m{number}", sent_at=NINE
    )


def batches(events: Sequence[InboundEvent]) -> list[tuple[list[int], str | None]]:
    """All batches, one after the other: places of their events, and the text to act on."""
    waiting = [StoredEvent(place, event, 0, NINE) for place, event in enumerate(events)]
    made = []
    while waiting:
        batch = next_batch(waiting, NINE + timedelta(minutes=1))
        places = [stored.inbox_id for stored in batch.events]
        made.append((places, None if batch.event is None else getattr(batch.event, "text", "–")))
        waiting = [stored for stored in waiting if stored.inbox_id not in places]
    return made


@pytest.mark.parametrize(
    ("events", "made"),
    [
        ([said(1, "hi"), said(2, "refund?")], [([0, 1], "hi\nrefund?")]),
        ([said(1, "refund?"), said(2, "return?")], [([0], "refund?"), ([1], "return?")]),
        ([said(1, "hi"), edited(1, "refund?")], [([0, 1], "refund?")]),
        ([said(1, "hi"), said(2, "you"), deleted(1)], [([0, 1, 2], "you")]),
        ([said(1, "hi"), deleted(1)], [([0, 1], None)]),
        ([said(1, "hi"), said(2, "/kb status")], [([0], "hi"), ([1], "/kb status")]),
        ([said(1, "hi"), said(2, "you", sender=Sender("8"))], [([0], "hi"), ([1], "you")]),
        ([said(1, "so", sender=Sender("a", "agent")), said(2, "hi")], [([0], "so"), ([1], "hi")]),
    ],
)  # fmt: skip
def test_a_burst_is_one_turn_as_it_reads_now(
    events: list[InboundEvent], made: list[tuple[list[int], str | None]]
) -> None:
    assert batches(events) == made


@pytest.mark.parametrize(
    ("events", "made"),
    [
        # What an edit made a command stands alone, wherever in a burst it was.
        ([said(1, "/kb stauts"), edited(1, "/kb status")], [([0, 1], "/kb status")]),
        ([said(1, "hi"), edited(1, "/help")], [([0, 1], "/help")]),
        ([said(1, "hi"), said(2, "you"), edited(2, "/help")], [([0], "hi"), ([1, 2], "/help")]),
        ([said(1, "hi"), said(2, "you"), edited(1, "/help")], [([0, 2], "/help"), ([1], "you")]),
        # And what is none any more may be answered.
        ([said(1, "/help"), edited(1, "help me?")], [([0, 1], "help me?")]),
        ([said(1, "hi"), edited(1, "/help"), edited(1, "hm?")], [([0, 1, 2], "hm?")]),
        ([said(1, "/help"), said(2, "hi")], [([0], "/help"), ([1], "hi")]),
    ],
)  # fmt: skip
def test_an_edit_that_makes_a_command_is_carried_out_as_one(
    events: list[InboundEvent], made: list[tuple[list[int], str | None]]
) -> None:
    assert batches(events) == made


def test_a_command_is_not_waited_over() -> None:
    events: list[InboundEvent] = [said(1, "hi"), edited(1, "/help")]
    waiting = [StoredEvent(place, event, 0, NINE) for place, event in enumerate(events)]
    assert next_batch(waiting, NINE).pause == timedelta()


def test_the_words_to_a_picture_are_waited_for_and_belong_to_it() -> None:
    picture = StoredEvent(0, said(1, "", attachments=PHOTO), 0, NINE)
    assert next_batch([picture], NINE).pause > timedelta()
    assert next_batch([picture], NINE + timedelta(seconds=1)).pause == timedelta()
    assert batches([said(1, "", attachments=PHOTO), said(2, "broken?")]) == [([0, 1], "broken?")]


def test_of_messages_without_words_one_with_a_file_is_acted_on() -> None:
    events = [said(1, " "), said(2, "", attachments=PHOTO)]
    batch = next_batch([StoredEvent(n, one, 0, NINE) for n, one in enumerate(events)], NINE)
    assert isinstance(batch.event, MessageReceived)
    assert batch.event.attachments == PHOTO


def test_a_press_ends_a_burst() -> None:
    press = ButtonPressed(event_id="p", conversation=CHAT, token="t", sender=CUSTOMER, sent_at=NINE)
    made = batches([said(1, "hi"), press, said(2, "you")])
    assert [places for places, _ in made] == [[0], [1], [2]]
