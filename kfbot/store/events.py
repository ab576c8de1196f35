"""Inbound events and outbound messages as JSON, for their rows."""

from __future__ import annotations

from dataclasses import replace
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


def storable(text: str) -> str:
    """A text without what no database takes: NUL (PostgreSQL) and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def storable_event(event: InboundEvent) -> InboundEvent:
    """An event whose words every database takes."""
    if isinstance(event, MessageReceived):
        name = storable(event.sender.display_name)
        sender = replace(event.sender, display_name=name)
        return replace(event, text=storable(event.text), sender=sender)
    if isinstance(event, MessageEdited):
        return replace(event, text=storable(event.text))
    return event


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
