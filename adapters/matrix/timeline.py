"""What was said in a room since the last sync, in order and without gaps."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

from adapters.matrix.events import Event, mapping, names_in
from adapters.matrix.homeserver import Homeserver

logger = logging.getLogger(__name__)

#: How far back the invitation is looked for in a room that the bot has just joined, in events.
MOST_BEFORE_JOIN = 1000
_KINDS = [
    "m.room.message",
    "m.sticker",
    "m.room.redaction",
    "m.room.member",
    "m.room.encrypted",
    "m.room.encryption",
    "m.room.tombstone",
]
_PAGES = {"types": _KINDS, "lazy_load_members": True, "include_redundant_members": True}
#: Of a sync.
WANTED: Mapping[str, Any] = {
    "presence": {"types": []},
    "account_data": {"types": ["m.direct"]},
    "room": {
        "account_data": {"types": []},
        "ephemeral": {"types": []},
        "state": {
            "types": ["m.room.member"],
            "lazy_load_members": True,
            "include_redundant_members": True,
        },
        # What is more is fetched page by page.
        "timeline": {"types": _KINDS, "limit": 20},
    },
}


def wanted_now() -> Mapping[str, Any]:
    """Of a sync that tells where we are, and who invites us; nothing of what was said before.

    Synapse 1.163 gives the answer to a sync again for two minutes, without who has invited us
    since: so no two are the same. And a list without any room would hide the invitations.
    """
    return {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {"rooms": [f"!none-{secrets.token_hex(8)}:kfbot.invalid"]},
    }


def shows_join(entry: Event, me: str) -> bool:
    """Whether the bot comes into the room in the newest events that a sync tells of it.

    A join in the state alone may be an old one: state tells who wrote the newest events, too.
    """
    return any(_is_first_join(event, me) for event in _timeline(entry))


async def told(
    server: Homeserver, room: str, entry: Event, since: str, me: str, *, is_new: bool
) -> AsyncIterator[tuple[Event, Mapping[str, str]]]:
    """Events of a joined room, oldest first, with the names of those who wrote them.

    Of a room that the bot has just joined: what was said since it was invited. Where a sync
    left out what is older than its newest events, that is fetched.

    Args:
        entry: What the sync says about the room.
        since: Where the sync began.
        me: The bot's id.
        is_new: The bot has just joined the room.

    Raises:
        ChannelError: As the homeserver's methods do.
    """
    names = names_in(list(_state(entry)))
    recent = list(_timeline(entry))
    if is_new:
        async for event in _since_invited(server, room, entry, recent, me, names):
            yield event, names
        return
    start = mapping(entry.get("timeline")).get("prev_batch")
    if mapping(entry.get("timeline")).get("limited") is True and isinstance(start, str):
        async for event in _between(server, room, since, start, names):
            yield event, names
    names |= names_in(recent)
    for event in recent:
        yield event, names


async def _between(
    server: Homeserver, room: str, since: str, until: str, names: dict[str, str]
) -> AsyncIterator[Event]:
    at = since
    while True:
        page = await server.messages(room, at, until, _PAGES, backwards=False)
        names |= names_in(page.get("state")) | names_in(page.get("chunk"))
        for event in _events(page.get("chunk")):
            yield event
        end = page.get("end")
        if not isinstance(end, str) or end == at:
            return
        at = end


async def _since_invited(
    server: Homeserver,
    room: str,
    entry: Event,
    recent: list[Event],
    me: str,
    names: dict[str, str],
) -> AsyncIterator[Event]:
    newest_first = recent[::-1]
    at: object = mapping(entry.get("timeline")).get("prev_batch")
    while (begin := _beginning(newest_first, me)) is None and isinstance(at, str):
        if len(newest_first) >= MOST_BEFORE_JOIN:
            logger.warning(
                "room %s: of what was said before the bot joined, only the last %d events are read",
                room,
                MOST_BEFORE_JOIN,
                extra={"event": "matrix_history_cut"},
            )
            break
        page = await server.messages(room, at, None, _PAGES, backwards=True)
        names |= names_in(page.get("state"))
        newest_first += _events(page.get("chunk"))
        at = page.get("end") if page.get("end") != at else None
    names |= names_in(newest_first[::-1])
    for event in newest_first[:begin][::-1]:
        yield event


def _beginning(newest_first: list[Event], me: str) -> int | None:
    """Where in a list the bot was invited, or joined uninvited."""
    for place, event in enumerate(newest_first):
        if _is_mine(event, me, "invite"):
            return place
        if _is_first_join(event, me) and _before(event) != "invite":
            return place
    return None


def _is_first_join(event: Event, me: str) -> bool:
    return _is_mine(event, me, "join") and _before(event) != "join"


def _is_mine(event: Event, me: str, membership: str) -> bool:
    is_member = event.get("type") == "m.room.member" and event.get("state_key") == me
    return is_member and mapping(event.get("content")).get("membership") == membership


def _before(event: Event) -> object:
    """The membership that this one took the place of."""
    return mapping(mapping(event.get("unsigned")).get("prev_content")).get("membership")


def _state(entry: Event) -> list[Event]:
    return _events(mapping(entry.get("state")).get("events"))


def _timeline(entry: Event) -> list[Event]:
    return _events(mapping(entry.get("timeline")).get("events"))


def _events(listed: object) -> list[Event]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
