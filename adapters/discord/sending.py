"""Speaks for the bot: as itself in a channel, else by a command's token, else in a direct chat."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from adapters.discord.api import DiscordApi
from adapters.discord.faults import MAY_NOT_REPLY, MAY_NOT_WRITE, NOT_SHOWN, has_code
from adapters.discord.reading import is_id
from adapters.discord.rendering import content_of, rows_of
from adapters.discord.tokens import Command, InteractionTokens, is_command
from kfbot.errors import ChannelError, ChannelUnavailable, MessageRejected
from kfbot.messages import ConversationId, DeliveryReceipt, OutboundMessage

#: No previews of links.
_SUPPRESS_EMBEDS = 1 << 2
_NONCE_LENGTH = 25
#: A command is shown once Discord has our first answer to it, within 3 s.
_SHOWN_AFTER_SECONDS = 5.0


class Speaker:
    """Sends and edits messages."""

    def __init__(self, channel: str, api: DiscordApi, tokens: InteractionTokens) -> None:
        self._channel = channel
        self._api = api
        self._tokens = tokens

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """See `DiscordAdapter.send`."""
        place = self.place_of(message.conversation)
        asked = message.in_reply_to or ""
        if (command := self._tokens.find(asked)) is not None:
            asked = await self._shown_by(command)
        body = self._body(message, is_reply=is_id(asked))
        try:
            sent = await self._post(place, message, body, asked)
        except MessageRejected as error:
            if not has_code(error, *MAY_NOT_WRITE):
                raise
            sent = await self._send_elsewhere(message, body, command, error)
        number = sent.get("id")
        return DeliveryReceipt((number,) if isinstance(number, str) else ())

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """See `DiscordAdapter.edit`."""
        if not receipt.platform_ids:
            await self.send(message)
            return
        shown = f"messages/{receipt.platform_ids[0]}"
        command = self._tokens.find(message.in_reply_to or "")
        body = self._body(message, is_reply=bool(message.in_reply_to))
        try:
            place = self.place_of(message.conversation)
            await self._api.call("PATCH", f"/channels/{place}/{shown}", body)
        except MessageRejected as error:
            if command is None or not has_code(error, *MAY_NOT_WRITE):
                raise
            await self._api.call_by_token("PATCH", f"{command.path}/{shown}", body)

    def place_of(self, conversation: ConversationId) -> str:
        """The channel, thread or direct chat that a conversation takes place in.

        Raises:
            MessageRejected: Discord can have none that is called so.
        """
        place = conversation.thread or conversation.chat
        if not is_id(place):
            raise MessageRejected(self._channel, "no channel of Discord's")
        return place

    async def _post(
        self, place: str, message: OutboundMessage, body: dict[str, Any], asked: str = ""
    ) -> dict[str, Any]:
        path = f"/channels/{place}/messages"
        # Within some minutes Discord answers the same one with the message that it already has.
        nonce = hashlib.sha256(message.id.encode(errors="replace")).hexdigest()[:_NONCE_LENGTH]
        body = body | {"nonce": nonce, "enforce_nonce": True}
        if not is_id(asked):
            return await self._api.call("POST", path, body)
        reply = {"message_reference": {"message_id": asked, "fail_if_not_exists": False}}
        try:
            return await self._api.call("POST", path, body | reply)
        except MessageRejected as error:
            if not has_code(error, MAY_NOT_REPLY):
                raise
            return await self._api.call("POST", path, body)

    async def _send_elsewhere(
        self,
        message: OutboundMessage,
        body: dict[str, Any],
        command: Command | None,
        error: MessageRejected,
    ) -> dict[str, Any]:
        """Answer where the bot may not write: by a command's token, or to its writer alone."""
        if command is not None:
            with suppress(MessageRejected):
                return await self._api.call_by_token("POST", f"{command.path}?wait=true", body)
        member = message.conversation.member or ""
        # Who mentions the bot where it was silenced is not written to: a person was, or a command.
        is_owed = message.sender.role == "agent" or is_command(message.in_reply_to or "")
        if not is_id(member) or not is_owed:
            raise error
        opened = await self._api.call("POST", "/users/@me/channels", {"recipient_id": member})
        chat = opened.get("id")
        if not isinstance(chat, str) or not is_id(chat):
            raise error
        return await self._post(chat, message, body)

    async def _shown_by(self, command: Command) -> str:
        """The message by which Discord shows a command in its channel; "": nobody says.

        Raises:
            ChannelUnavailable: Our first answer is on its way; Discord takes no other before.
        """
        try:
            found = await self._api.call_by_token("GET", f"{command.path}/messages/@original")
        except ChannelError as error:
            is_early = command.age_seconds < _SHOWN_AFTER_SECONDS
            if is_early and isinstance(error, MessageRejected) and has_code(error, *NOT_SHOWN):
                reason = "Discord does not show the command yet"
                raise ChannelUnavailable(self._channel, reason, retry_after_seconds=1.0) from None
            return ""
        return str(found.get("id") or "")

    def _body(self, message: OutboundMessage, *, is_reply: bool) -> dict[str, Any]:
        member = message.conversation.member or ""
        # Nobody would see in a busy channel for whom it is: an agent's later answer, or one to a
        # command of long ago.
        is_late = message.sender.role == "agent" or bool(message.in_reply_to)
        called = [member] if is_id(member) and is_late and not is_reply else []
        content = content_of(message, "".join(f"<@{one}> " for one in called))
        if not content:
            raise MessageRejected(self._channel, "there is no text, or too much")
        return {
            "content": content,
            "components": rows_of(message.buttons, member if is_id(member) else ""),
            "allowed_mentions": {"parse": [], "users": called, "replied_user": False},
            "flags": _SUPPRESS_EMBEDS,
        }
