"""What is asked of an operator's system; pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from kfbot.actions.memory import Running
from kfbot.actions.settings import ActionSettings
from kfbot.conversation import Conversation
from kfbot.messages import Sender


def request_of(
    running: Running, conversation: Conversation | None, customer: Sender | None
) -> dict[str, Any]:
    """The body of a request to carry out an action; None: it belongs to no conversation."""
    return {
        "action": running.action,
        "conversation": None if conversation is None else _address(conversation),
        "customer": None if customer is None else _person(customer),
        "language": running.language,
        "slots": dict(running.values),
    }


def request_id(
    running: Running, settings: ActionSettings, conversation: Conversation | None, event_id: str
) -> str:
    """The same for a turn that is taken again after a crash; tells nothing of the values."""
    channel = conversation.address.channel if conversation else ""
    parts = [running.action, channel, event_id, sorted(running.values.items())]
    key = settings.secret.get_secret_value().encode()
    return f"action_{hmac.new(key, json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:32]}"


def _person(customer: Sender) -> dict[str, str]:
    return {"id": customer.id, "name": customer.display_name}


def _address(conversation: Conversation) -> dict[str, Any]:
    """The conversation as the operator's system knows it again."""
    here = conversation.address
    return {
        "id": conversation.id,
        "channel": here.channel,
        "chat": here.chat,
        "thread": here.thread,
        "member": here.member,
    }
