"""Which waiting events make the next turn: bursts, with edits and deletions folded in; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kfbot.admin.commands import parse
from kfbot.etiquette import answerable, burst
from kfbot.messages import InboundEvent, MessageDeleted, MessageEdited, MessageReceived
from kfbot.store.work import StoredEvent

_Run = list[tuple[StoredEvent, MessageReceived]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Waiting events that are worked on together."""

    events: tuple[StoredEvent, ...]
    #: The event to act on, with the texts of a burst joined and edits applied; None: nothing.
    event: InboundEvent | None
    #: Wait so long for the thought to be finished first.
    pause: timedelta = timedelta()


def next_batch(waiting: Sequence[StoredEvent], now: datetime) -> Batch:
    """The events to work on next, edits and deletions of waiting messages folded in."""
    first = waiting[0]
    if not isinstance(first.event, MessageReceived) or not answerable(first.event):
        return Batch((first,), first.event)
    run, folded = _gathered(waiting, first.event)
    # A command stands alone, and so does what an edit made one.
    command = next((at for at, (_, message) in enumerate(run) if _is_command(message)), None)
    if command is not None:
        run = run[: command or 1]
    return _joined(run, _edits_of(run, folded), now)


def _gathered(
    waiting: Sequence[StoredEvent], first: MessageReceived
) -> tuple[_Run, list[StoredEvent]]:
    """What may be one burst: messages as they read now, and the events that changed them."""
    run: _Run = []
    folded: list[StoredEvent] = []
    for stored in waiting:
        event = stored.event
        if isinstance(event, MessageReceived):
            is_burst = answerable(event) and event.sender.id == first.sender.id
            if run and (not is_burst or _is_command(first) or _is_command(event)):
                break
            run.append((stored, event))
        elif isinstance(event, MessageEdited | MessageDeleted):
            if not _fold(run, event):
                break
            folded.append(stored)
        else:
            break
    return run, folded


def _is_command(message: MessageReceived) -> bool:
    return parse(message.text, mistyped=True) is not None


def _fold(run: _Run, event: MessageEdited | MessageDeleted) -> bool:
    for place, (stored, message) in enumerate(run):
        if message.message_id == event.message_id:
            text = event.text if isinstance(event, MessageEdited) else ""
            run[place] = (stored, replace(message, text=text))
            return True
    return False


def _joined(run: _Run, folded: Sequence[StoredEvent], now: datetime) -> Batch:
    spoken = [(stored, message) for stored, message in run if message.text.strip()]
    if not spoken:
        return _wordless(run, folded, now)
    count, pause = burst([(message, stored.received_at) for stored, message in spoken], now)
    taken = spoken[:count]
    text = "\n".join(message.text for _, message in taken)
    until = run.index(taken[-1]) + 1
    return Batch(
        (*(stored for stored, _ in run[:until]), *_edits_of(run[:until], folded)),
        replace(taken[-1][1], text=text),
        pause if not _is_command(taken[-1][1]) else timedelta(),
    )


def _wordless(run: _Run, folded: Sequence[StoredEvent], now: datetime) -> Batch:
    """Messages that were taken back, or came without words: pictures, or white space."""
    everything = (*(stored for stored, _ in run), *folded)
    if any(isinstance(stored.event, MessageDeleted) for stored in folded):
        return Batch(everything, None)
    # The words to a picture often come in a message of their own.
    _, pause = burst([(message, stored.received_at) for stored, message in run], now)
    with_files = [message for _, message in run if message.attachments]
    return Batch(everything, (with_files or [run[0][1]])[0], pause)


def _edits_of(run: _Run, folded: Sequence[StoredEvent]) -> list[StoredEvent]:
    """The events that changed messages of a run."""
    numbers = {message.message_id for _, message in run}
    return [
        stored
        for stored in folded
        if isinstance(stored.event, MessageEdited | MessageDeleted)
        and stored.event.message_id in numbers
    ]
