"""What was written while the bot heard nothing: Discord tells it to nobody later, but keeps it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from adapters.discord.api import DiscordApi
from adapters.discord.gateway import Dispatch
from adapters.discord.reading import Reader, first_id, is_id
from kfbot.errors import ChannelUnavailable, MessageRejected
from kfbot.messages import ConversationId, InboundEvent, MessageReceived

logger = logging.getLogger(__name__)

#: Channels, threads and direct chats that are looked through, at most.
MOST_PLACES = 200
#: Messages of one of them, at most: the oldest.
MOST_MESSAGES = 500
#: Discord gives so many at once.
_PAGE = 100
#: Between two calls, so that answers go first: Discord counts all calls of a bot together.
_PAUSE_SECONDS = 0.1
#: A place is asked for so often before the others have their turn; and the longest wait for it.
_ATTEMPTS, _LONGEST_WAIT_SECONDS = 3, 60.0
_THREAD = 11


async def missed(
    api: DiscordApi,
    reader: Reader,
    known: Sequence[ConversationId],
    since: datetime,
    goes_on: Callable[[], bool] = lambda: True,
) -> AsyncIterator[InboundEvent]:
    """Messages where there are conversations, of each place the oldest first.

    They mean the same events as when the gateway tells them, so those that were heard are known.
    Talk that is not for the bot is left out where its writer has no conversation with it. A place
    that Discord cannot show just now is asked for again after the others, until it can.

    Args:
        known: The conversations, those with the latest news first.
        goes_on: False once nobody has to wait for such places any more.

    Raises:
        ChannelUnauthorized: The token is refused.
    """
    places: dict[str, ConversationId] = {}
    for one in known:
        places.setdefault(one.thread or one.chat, one)
    conversations = set(known)
    left, wait = [one for one in places if is_id(one)][:MOST_PLACES], 1.0
    while left and goes_on():
        unread: list[str] = []
        for place in left:
            address = places[place]
            if address.thread:
                reader.learn_place({"id": place, "type": _THREAD, "parent_id": address.chat})
            messages = await _written(api, place, since)
            if messages is None:
                unread.append(place)
            for event in _events_of(messages or (), reader, address, conversations):
                yield event
        left = unread
        if left:
            await asyncio.sleep(min(wait, _LONGEST_WAIT_SECONDS))
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _events_of(
    messages: Sequence[Mapping[str, Any]],
    reader: Reader,
    address: ConversationId,
    known: Collection[ConversationId],
) -> Iterator[InboundEvent]:
    # What was answered was heard, even where all that we knew of it has been erased.
    answered = {reader.replied_to(one) for one in messages}
    # Of a server's messages the list of a channel does not say so.
    where = {"guild_id": ""} if address.thread or address.member else {}
    for message in messages:
        for event in reader.events_of(Dispatch("MESSAGE_CREATE", {**message, **where})):
            if event.event_id not in answered and _concerns(event, known):
                yield event


def _concerns(event: InboundEvent, known: Collection[ConversationId]) -> bool:
    is_for_bot = isinstance(event, MessageReceived) and event.addressed_to_bot
    return is_for_bot or event.conversation in known


async def _written(api: DiscordApi, place: str, since: datetime) -> list[Mapping[str, Any]] | None:
    """The messages of a place since a time, the oldest first; None: not now."""
    after = first_id(since)
    messages: list[Mapping[str, Any]] = []
    while len(messages) < MOST_MESSAGES:
        if (page := await _page(api, place, after)) is None:
            return None
        numbered = {int(one["id"]): one for one in page if is_id(str(one.get("id")))}
        messages += [one for _, one in sorted(numbered.items())]
        if len(page) < _PAGE or not numbered:
            return messages
        after = max(numbered)
    logger.warning(
        "%s: over %d messages were missed, the rest is left out", place, MOST_MESSAGES,
        extra={"event": "discord_history_cut"},
    )  # fmt: skip
    return messages


async def _page(api: DiscordApi, place: str, after: int) -> list[Mapping[str, Any]] | None:
    """The next messages of a place; none where they cannot be had, None: not now."""
    query = {"after": str(after), "limit": str(_PAGE)}
    reason = ""
    for _ in range(_ATTEMPTS):
        await asyncio.sleep(_PAUSE_SECONDS)
        try:
            found = await api.listed(f"/channels/{place}/messages", query)
            return [one for one in found if isinstance(one, Mapping)]
        except MessageRejected as error:
            # The bot is no longer there, or may not read what was written before.
            _not_read(str(error))
            return []
        except ChannelUnavailable as error:
            reason = str(error)
            await asyncio.sleep(min(error.retry_after_seconds or 1.0, _LONGEST_WAIT_SECONDS))
    _not_read(f"{reason}; it is asked for again")
    return None


def _not_read(reason: str) -> None:
    logger.warning("not read: %s", reason, extra={"event": "discord_history_not_read"})
