"""Inbound events and outbound messages as JSON, for their rows."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from kfbot.messages import (
    ButtonPressed,
    ConversationMoved,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OutboundMessage,
    OwnershipChanged,
)

_EVENTS: dict[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (
        MessageReceived,
        MessageEdited,
        MessageDeleted,
        ButtonPressed,
        OwnershipChanged,
        ConversationMoved,
    )
}
_OUTBOUND = TypeAdapter(OutboundMessage)
#: Fields of an event that `storable_event` leaves alone.
_AS_THEY_ARE = frozenset(("raw", "conversation", "moved_to"))


def storable(text: str) -> str:
    """A text without what no database takes: NUL (PostgreSQL) and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def storable_event(event: InboundEvent) -> InboundEvent:
    """An event whose texts every database takes: words, names, and its own ids.

    The address stays as it is, stored or not: an answer must not go to another chat.
    """
    cleaned: InboundEvent = _storable_parts(event)
    return cleaned


def _storable_parts(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, tuple):
        return tuple([_storable_parts(one) for one in value])
    changed = {}
    for name in _parts_of(value.__class__):
        part = getattr(value, name)
        # Nearly always nothing is wrong: then it stays the very same event.
        if part and (cleaned := _storable_parts(part)) != part:
            changed[name] = cleaned
    return replace(value, **changed) if changed else value


@cache
def _parts_of(kind: type) -> tuple[str, ...]:
    """What an event, or a part of one, consists of; nothing for what holds no text."""
    named = fields(kind) if is_dataclass(kind) else ()
    return tuple(one.name for one in named if one.name not in _AS_THEY_ARE)


def encode_event(event: InboundEvent) -> dict[str, Any]:
    """JSON of an event; `raw` is left out."""
    name = type(event).__name__
    encoded: dict[str, Any] = _EVENTS[name].dump_python(event, mode="json", exclude={"raw"})
    return {"type": name, **encoded}


def type_of(payload: object) -> object:
    """The type of an event's JSON; None where it is no event's."""
    return payload.get("type") if isinstance(payload, dict) else None


def decode_event(payload: dict[str, Any]) -> InboundEvent:
    """The event of such JSON."""
    fields = dict(payload)
    event: InboundEvent = _EVENTS[fields.pop("type")].validate_python(fields)
    return event


def encode_message(message: OutboundMessage) -> dict[str, Any]:
    """JSON of an outbound message."""
    encoded: dict[str, Any] = _OUTBOUND.dump_python(message, mode="json")
    return encoded


def decode_message(payload: dict[str, Any]) -> OutboundMessage:
    """The outbound message of such JSON."""
    return _OUTBOUND.validate_python(payload)
