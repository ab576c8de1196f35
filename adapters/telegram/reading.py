"""Reads updates as they come in; what cannot be read is skipped with a line in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from adapters.telegram.payloads import Update
from adapters.telegram.updates import Identity, event_of
from kfbot.messages import InboundEvent, MessageReceived

logger = logging.getLogger(__name__)

_REMEMBERED_ALBUMS = 1000


class Reader:
    """Knows whom the updates are for, and which albums it has seen a part of."""

    def __init__(self, channel: str, token: str, agents_chat: str = "") -> None:
        self._channel = channel
        # A token begins with the bot's number, which is no secret.
        number = token.partition(":")[0]
        known = number.isdecimal() and len(number) < 19
        self.me = Identity(
            int(number) if known else 0,
            account=number if known else "bot",
            agents_chat=agents_chat,
        )
        #: A set that keeps its order.
        self._albums: dict[str, None] = {}

    def introduce(self, bot: object) -> None:
        """Take note of what getMe says."""
        if isinstance(bot, dict):
            number, name = bot.get("id"), bot.get("username")
            self.me = replace(
                self.me,
                id=number if isinstance(number, int) else self.me.id,
                username=name if isinstance(name, str) else "",
            )

    def follow(self, chat: str, moved_to: int) -> None:
        """Take note that a group has another id from now on."""
        if chat and chat in (self.me.agents_chat, self.me.agents_chat_now):
            self.me = replace(self.me, agents_chat_now=str(moved_to))

    def read(self, raw: object) -> tuple[int | None, Update | None]:
        """Number and content of an update, as far as they can be read."""
        number = raw.get("update_id") if isinstance(raw, dict) else None
        update_id = number if type(number) is int and 0 <= number < 2**62 else None
        try:
            return update_id, Update.model_validate(raw)
        except (ValidationError, RecursionError) as error:
            logger.warning(
                "update %s skipped: %s",
                update_id,
                _fault_of(error),
                extra={"event": "telegram_update_skipped"},
            )
            return update_id, None

    def meaning(self, update: Update) -> InboundEvent | None:
        """The event that an update means; None: nothing that anybody has to be told."""
        if (membership := update.my_chat_member) is not None:
            logger.info(
                "the bot is now %s in the %s %d",
                membership.new_chat_member.status,
                membership.chat.type,
                membership.chat.id,
                extra={"event": "telegram_membership"},
            )
        if update.message is not None and update.message.migrate_to_chat_id is not None:
            self.follow(str(update.message.chat.id), update.message.migrate_to_chat_id)
        event = event_of(update, self._channel, self.me)
        album = update.message.media_group_id if update.message is not None else None
        if album is None or not isinstance(event, MessageReceived):
            return event
        was_seen = self._seen_before(album)
        # An album comes as a message for each of its parts; one of them is to be answered.
        return replace(event, addressed_to_bot=False) if was_seen and not event.text else event

    def look_ahead(self, batch: Sequence[Any]) -> None:
        """Of an album the part with words is the one to answer, wherever in a batch it comes."""
        for raw in batch:
            message = raw.get("message") if isinstance(raw, dict) else None
            if isinstance(message, dict) and message.get("caption"):
                album = message.get("media_group_id")
                if isinstance(album, str):
                    self._seen_before(album)

    def _seen_before(self, album: str) -> bool:
        if album in self._albums:
            return True
        self._albums[album] = None
        if len(self._albums) > _REMEMBERED_ALBUMS:
            del self._albums[next(iter(self._albums))]
        return False


def _fault_of(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return type(error).__name__
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
