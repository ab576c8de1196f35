"""An outbound message → what chat.postMessage and chat.update take: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adapters.slack.mrkdwn import escape, link, render
from kfbot.messages import Button, Citation, OutboundMessage

#: Longest text of a section, of a button, and what one block or message may hold.
SECTION_LENGTH = 3000
LABEL_LENGTH = 75
BUTTONS_IN_BLOCK = 25
CITATIONS_IN_BLOCK = 10
BLOCKS = 50
#: Slack cuts longer texts; beside blocks it is shown in notifications only.
TEXT_LENGTH = 40_000
_TITLE_LENGTH = 150


def to_arguments(message: OutboundMessage) -> dict[str, Any]:
    """`text` and `blocks`; nothing in them mentions anybody, whatever the message says."""
    sections = (*_name(message), *render(message.text, SECTION_LENGTH))
    blocks = [
        *({"type": "section", "text": _mrkdwn(section)} for section in sections),
        *_citations(message.citations),
        *_buttons(message.buttons),
    ]
    # Of buttons alone a notification shows the labels.
    text = "\n\n".join(sections) or escape(" · ".join(_label(one.label) for one in message.buttons))
    arguments: dict[str, Any] = {"text": text[:TEXT_LENGTH]}
    # What is too long for blocks is shown by its text alone.
    if blocks and len(blocks) <= BLOCKS:
        arguments["blocks"] = blocks
    return arguments


def _name(message: OutboundMessage) -> Iterator[str]:
    """Above all that the bot sends stands its own name; above a person's words the person's."""
    name = _short(message.sender.display_name).replace("*", "")
    if message.sender.role == "agent" and name:
        yield f"*{escape(name)}*"


def _mrkdwn(text: str) -> dict[str, Any]:
    # Verbatim: Slack looks for no names in it.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _citations(citations: Sequence[Citation]) -> Iterator[dict[str, Any]]:
    shown = [
        _mrkdwn(_citation(number, citation))
        for number, citation in enumerate(citations[:CITATIONS_IN_BLOCK], start=1)
    ]
    if shown:
        yield {"type": "context", "elements": shown}


def _citation(number: int, citation: Citation) -> str:
    parts = [_short(citation.title or citation.id), _short(citation.heading)]
    return f"[{number}] " + link(citation.url, " › ".join(part for part in parts if part))


def _buttons(buttons: Sequence[Button]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(buttons), BUTTONS_IN_BLOCK):
        elements = [
            {
                "type": "button",
                "action_id": f"kfbot-{start + place}",
                "text": {"type": "plain_text", "text": _label(button.label), "emoji": False},
                "value": button.token,
            }
            for place, button in enumerate(buttons[start : start + BUTTONS_IN_BLOCK])
        ]
        yield {"type": "actions", "elements": elements}


def _label(label: str) -> str:
    label = _printable(label)
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1].rstrip() + "…"


def _short(text: str) -> str:
    text = _printable(text, empty="")
    return text if len(text) <= _TITLE_LENGTH else text[: _TITLE_LENGTH - 1].rstrip() + "…"


def _printable(text: str, *, empty: str = "…") -> str:
    return "".join(" " if not one.isprintable() else one for one in text).strip() or empty
