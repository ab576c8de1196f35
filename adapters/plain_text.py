"""CommonMark → text for platforms that show none of its marks; with the sources of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.requests import whole
from kfbot.markup import unmarked
from kfbot.messages import Citation, OutboundMessage

#: As many as an answer is written from.
SOURCES = 6


def to_plain_text(message: OutboundMessage) -> str:
    """The message as a person would type it, its sources below; "" where nothing can be seen."""
    body = markdown_to_text(message.text)
    if not body:
        return ""
    return "\n\n".join(
        [body, *(["\n".join(named)] if (named := sources(message.citations)) else [])]
    )


def sources(citations: Sequence[Citation]) -> list[str]:
    """A line for each source: its number, its name and, if it has one, its address."""
    return [f"[{n}] {source(one)}" for n, one in enumerate(citations[:SOURCES], start=1)]


def source(citation: Citation) -> str:
    """What a source is called, and where it is."""
    parts = (citation.title or citation.id, citation.heading)
    named = " › ".join(part for part in parts if part.strip())
    shown = f"{named} {citation.url}" if citation.url else named
    return " ".join(str(whole(shown)).split())


def markdown_to_text(text: str) -> str:
    """See `unmarked`; halves of characters, which no platform takes, are made whole."""
    return unmarked(str(whole(text)))
