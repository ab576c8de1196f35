"""Conversations, cases and messages as the desk's page gets them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kfbot.conversation import Case, State
from kfbot.grounding.suggestions import Suggestion
from kfbot.language import language_of
from kfbot.store.desk_transcripts import DeskMessage
from kfbot.store.queue import Listed

#: The beginning of the last message, in lists.
_PREVIEW = 200
#: Before the id that the page gave a message of an agent's.
_KEY = "desk"


def reply_key(agent: str, client_id: str) -> str:
    """What a message of an agent's is known by when it is sent again."""
    return f"{_KEY} {agent} {client_id}"


def summary_data(listed: Listed) -> dict[str, Any]:
    """A conversation in a list."""
    case = listed.case
    question = case.question if case else ""
    waits = listed.state is State.WAITING and case is not None
    return {
        "id": listed.id,
        "channel": listed.channel,
        "state": str(listed.state),
        "agent": listed.agent,
        "agent_name": listed.agent_name,
        "assigned_to": case.assigned_to if case and case.closed_at is None else None,
        "customer": listed.customer,
        "language": language_of(f"{question} {listed.last_text[:_PREVIEW]}"),
        "last_text": listed.last_text[:_PREVIEW],
        "last_role": listed.last_role,
        "updated_at": listed.updated_at.isoformat(),
        "waiting_since": _time(case.waiting_since or case.opened_at) if waits and case else None,
        "case": None if case is None else case_data(case),
    }


def case_data(case: Case, *, whole: bool = False) -> dict[str, Any]:
    """A case; whole: with the passages that the bot saw."""
    passages = [dict(passage) for passage in case.passages] if whole else []
    return {
        "id": case.id,
        "reason": case.reason,
        "question": case.question,
        "draft": case.draft,
        "knowledge_base": case.knowledge_base,
        "confidence": case.confidence,
        "passages": passages,
        "opened_at": _time(case.opened_at),
        "assigned_to": case.assigned_to,
        "claimed_by": case.claimed_by,
        "first_reply_at": _time(case.first_reply_at),
        "closed_at": _time(case.closed_at),
        "outcome": case.outcome,
    }


def suggestion_data(suggestion: Suggestion) -> dict[str, Any]:
    """What an agent might reply, with what says so."""
    sources = [
        {"title": one.title, "heading": one.heading, "url": one.url, "quote": one.quote}
        for one in suggestion.citations
    ]
    return {"text": suggestion.text, "by": suggestion.by, "sources": sources}


def message_data(message: DeskMessage) -> dict[str, Any]:
    """A message as agents see it."""
    said = message.said
    buttons = said.extras.get("buttons", ())
    return {
        "id": said.id,
        "role": said.role,
        "name": said.sender_name,
        "kind": said.kind,
        "text": said.text,
        "internal": said.internal,
        "citations": said.extras.get("citations", []),
        "buttons": [
            {
                "label": button["label"],
                "action": button["action"],
                "pressed": button["token"] in message.pressed,
            }
            for button in buttons
        ],
        "attachments": [
            {"name": one.get("name", ""), "media_type": one.get("media_type", "")}
            for one in said.extras.get("attachments", ())
        ],
        "created_at": _time(said.created_at),
        "client_id": _client_id(message),
        "delivery": message.delivery,
        "turn_id": message.turn_id,
        "decision": message.decision,
        "confidence": message.confidence,
    }


def _client_id(message: DeskMessage) -> str | None:
    said = message.said
    if said.role != "agent" or not (said.event_id or "").startswith(f"{_KEY} "):
        return None
    return str(said.event_id).rpartition(" ")[2]


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
