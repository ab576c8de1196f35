"""How a person takes over and gives back: what agents can do with a conversation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.conversation import Conversation, Language
from kfbot.desk import AgentDesk
from kfbot.errors import KfbotError
from kfbot.inbox import DESK_TIMEOUT_SECONDS
from kfbot.language import language_of
from kfbot.store.conversations import ConversationStore, OwnerChange
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.texts import texts

logger = logging.getLogger(__name__)


class Handoff:
    """What agents do. Every step is a transaction of its own and never waits for a turn."""

    def __init__(
        self,
        *,
        conversations: ConversationStore,
        transcripts: TranscriptStore,
        outcomes: OutcomeStore,
        channels: Mapping[str, ChannelAdapter],
        desks: Sequence[AgentDesk],
    ) -> None:
        self._conversations = conversations
        self._transcripts = transcripts
        self._outcomes = outcomes
        self._channels = channels
        self._desks = desks

    async def claim(self, conversation_id: int, agent: str) -> Conversation:
        """Take a conversation; the bot is silent from now on.

        Raises:
            ConversationChanged: Another agent has it, or there is none with this id.
        """
        return await self._change(conversation_id, "claim", agent)

    async def reply(
        self,
        conversation_id: int,
        agent: str,
        text: str,
        *,
        internal: bool = False,
        shown_as: str | None = None,
        key: str | None = None,
    ) -> int:
        """Write to the customer, or (internal) to other agents; returns the message id.

        Args:
            shown_as: What is read instead of the agent's login.
            key: The same key in the same conversation is the same message, stored once.

        Raises:
            ConversationChanged: Another agent has it, or there is none with this id.
        """
        conversation = await self._conversations.get(conversation_id)
        pushed = self._pushed(conversation)
        message_id = await self._outcomes.agent_says(
            conversation_id,
            agent,
            text,
            internal=internal,
            pushed=pushed,
            text_length=self._text_length(conversation) if pushed else None,
            shown_as=shown_as,
            key=key,
        )
        return message_id

    async def hand_back(
        self, conversation_id: int, agent: str, *, only_own: bool = False
    ) -> Conversation:
        """Let the bot answer again; the customer is told.

        Args:
            only_own: Not what another agent has.

        Raises:
            ConversationChanged: No agent has it and none is waited for.
        """
        return await self._change(conversation_id, "hand_back", agent, only_own=only_own)

    async def resolve(
        self, conversation_id: int, agent: str, *, only_own: bool = False
    ) -> Conversation:
        """Close the matter; the customer is told.

        Args:
            only_own: Not what another agent has.

        Raises:
            ConversationChanged: It is closed already.
        """
        return await self._change(conversation_id, "resolve", agent, only_own=only_own)

    async def _change(
        self, conversation_id: int, change: OwnerChange, agent: str, *, only_own: bool = False
    ) -> Conversation:
        before = await self._conversations.get(conversation_id)
        case = await self._conversations.open_case(conversation_id)
        says = texts(await self._language(conversation_id))
        notices = {"claim": "", "hand_back": says.handback, "resolve": says.resolved}
        after = await self._outcomes.change_owner(
            conversation_id,
            change,
            agent=agent,
            notice=notices[change],
            pushed=self._pushed(before),
            only_own=only_own,
        )
        logger.info("%s", change, extra={"event": f"conversation_{change}"})
        if case is not None and change != "claim":
            for desk in self._desks:
                try:
                    async with asyncio.timeout(DESK_TIMEOUT_SECONDS):
                        await desk.close(case)
                except (KfbotError, TimeoutError) as error:
                    logger.warning("desk not told: %s", error, extra={"event": "desk_not_told"})
        return after

    async def _language(self, conversation_id: int) -> Language:
        context = await self._transcripts.context(conversation_id)
        return language_of(" ".join(message.text for message in context.history[-4:]))

    def _text_length(self, conversation: Conversation) -> int:
        adapter = self._channels.get(conversation.address.channel)
        return (adapter.capabilities if adapter else Capabilities()).text_length

    def _pushed(self, conversation: Conversation) -> bool:
        adapter = self._channels.get(conversation.address.channel)
        # Without a request of the customer's to answer, even a channel that takes the bot's
        # messages in the response must have an agent's words pushed.
        # A channel that is not configured now gets its messages once it is again.
        return adapter is None or not adapter.capabilities.reads_transcript
