"""How the bot behaves where others read along: silent when told to, never too much, never nosy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from kfbot.adapter import AdapterSettings, ChannelAdapter
from kfbot.etiquette import Verdict, needed, overhearable, within_limit
from kfbot.messages import ConversationId, MessageEdited, MessageReceived
from kfbot.store.manners import Asked, MannersStore
from kfbot.store.work import StoredEvent

_USUAL = AdapterSettings(platform="")


class Manners:
    """Applies the rules of `kfbot.etiquette` with a channel's settings and what is stored."""

    def __init__(self, store: MannersStore, channels: Mapping[str, ChannelAdapter]) -> None:
        self._store = store
        self._channels = channels

    def may_overhear(self, event: MessageReceived) -> bool:
        """True for words that are not meant for the bot, but that it may answer if it is sure."""
        return self._settings(event.conversation).overhear and overhearable(event)

    async def is_paused(self, conversation: ConversationId) -> bool:
        """True where the bot was told to be silent.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return (await self._store.standing(Asked(conversation))).is_paused

    async def judge(
        self, event: MessageReceived, stored: Sequence[StoredEvent]
    ) -> Verdict | Literal["paused"]:
        """What becomes of a turn on a customer's message, which came as these events.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        per_minute = self._settings(event.conversation).messages_per_minute
        counted = MessageReceived | MessageEdited
        ours = [one.inbox_id for one in stored if isinstance(one.event, counted)]
        standing = await self._store.standing(
            Asked(
                event.conversation,
                inbox_id=max(ours),
                addressed=event.addressed_to_bot,
                limit=needed(per_minute, len(ours)) if per_minute else 0,
            )
        )
        if standing.is_paused:
            return "paused"
        # Talk among people is nobody's in particular: the group's share alone counts.
        in_group = event.in_group and event.addressed_to_bot
        return within_limit(standing.heard, ours, per_minute=per_minute, in_group=in_group)

    def _settings(self, conversation: ConversationId) -> AdapterSettings:
        adapter = self._channels.get(conversation.channel)
        return adapter.settings if adapter is not None else _USUAL
