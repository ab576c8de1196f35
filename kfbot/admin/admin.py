"""Commands in the chat: admins run the bot with them; anybody else is turned away politely."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from kfbot.adapter import ChannelAdapter
from kfbot.admin import entries
from kfbot.admin import texts as admin_texts
from kfbot.admin.commands import EVERYBODYS, Command, days_in
from kfbot.conversation import Conversation, Language, State, bot_may_speak
from kfbot.errors import ConversationChanged, KnowledgeBaseUnavailable
from kfbot.knowledge_base import KnowledgeBase, KnowledgeStatus, Retrieval, Scope
from kfbot.language import last_spoken
from kfbot.messages import MessageReceived
from kfbot.permissions import Permissions
from kfbot.store.accounts import AccountStore
from kfbot.store.audit import AuditStore
from kfbot.store.jobs import new_job_id
from kfbot.store.transcripts import TranscriptStore
from kfbot.texts import CommandTexts, command_texts, texts
from kfbot.turn import Load, Outcome, Reply, outcome_of, person_turn

logger = logging.getLogger(__name__)

#: `/stats` looks back so many days, unless it is told how many, and at most.
STATS_DAYS = 7
LONGEST_STATS_DAYS = 90
#: Passages that are shown.
SHOWN = 5


class Admin:
    """Carries out commands. What it says never becomes a turn, nor context for one."""

    def __init__(
        self,
        *,
        knowledge: KnowledgeBase,
        accounts: AccountStore,
        transcripts: TranscriptStore,
        audit: AuditStore,
        channels: Mapping[str, ChannelAdapter],
        scopes: Permissions,
        max_wrong_percent: float,
        hand_back: Callable[[int, str], Awaitable[Conversation]],
        clock: Callable[[], datetime],
    ) -> None:
        """`hand_back`: ends the work of an agent, by id of the conversation and who says so."""
        self._knowledge = knowledge
        self._accounts = accounts
        self._transcripts = transcripts
        self._audit = audit
        self._channels = channels
        self._scopes = scopes
        self._max_wrong_percent = max_wrong_percent
        self._hand_back = hand_back
        self._clock = clock

    def is_admin(self, event: MessageReceived) -> bool:
        """True where the channel's settings name the sender."""
        adapter = self._channels.get(event.conversation.channel)
        return adapter is not None and event.sender.id in adapter.settings.admins

    async def respond(
        self, conversation: Conversation, event: MessageReceived, command: Command
    ) -> Outcome:
        """Do what an admin says, whoever owns the conversation.

        Raises:
            StoreUnavailable: Nothing was changed; try again.
        """
        language = await self._language(conversation, event, command) or "en"
        says = command_texts(language)
        if command.name == "kb":
            return await self._knowledge_command(conversation, event, command, says)
        if command.name == "bot":
            return _pause(conversation, command, says)
        if command.name == "handoff":
            return await self._hand_off(conversation, language)
        if command.name == "resume":
            return await self._resume(conversation, event, says)
        if command.name == "why":
            return _says(conversation, await self._why(conversation, event, says))
        if command.name == "stats":
            return _says(conversation, await self._stats(command.words, says))
        return _says(conversation, says.admin_help.strip())

    async def turn_away(
        self, conversation: Conversation, event: MessageReceived, command: Command
    ) -> Outcome:
        """Answer a command of somebody who is no admin; while an agent is there, with nothing.

        Raises:
            StoreUnavailable: Nothing was changed; try again.
        """
        if command.name not in EVERYBODYS:
            logger.warning(
                "command refused",
                extra={
                    "event": "admin_refused",
                    "command": command.name,
                    "sender": event.sender.id,
                },
            )
        if not bot_may_speak(conversation):
            return Outcome(before=conversation, after=conversation)
        language = await self._language(conversation, event, command)
        # Who has said nothing yet may speak either language.
        languages: tuple[Language, ...] = (language,) if language else ("en", "zh")
        return _says(conversation, "\n\n".join(_to_customer(command, one) for one in languages))

    async def _language(
        self, conversation: Conversation, event: MessageReceived, command: Command
    ) -> Language | None:
        """Of the command's own words, else of what the customer said before, if anything."""
        context = await self._transcripts.context(conversation.id, event.event_id)
        spoken = [one.text for one in context.history if one.role == "customer"]
        return last_spoken((command.words, *reversed(spoken)))

    async def _knowledge_command(
        self,
        conversation: Conversation,
        event: MessageReceived,
        command: Command,
        says: CommandTexts,
    ) -> Outcome:
        verb, rest = command.verb()
        if verb in ("add", "remove"):
            return _says(conversation, await self._teach(event, command, says))
        if verb == "status":
            status = await self._named(event)
            return _says(conversation, admin_texts.status(status, says))
        if verb == "search":
            return _says(conversation, await self._search(event, rest, says))
        if verb == "reload":
            return await self._reload(conversation, event, rest, says)
        return _says(conversation, says.admin_help.strip())

    async def _named(self, event: MessageReceived) -> list[KnowledgeStatus]:
        """The knowledge bases that may be spoken of: in a group others read along."""
        known, names = await self._knowledge.status(), self._scope(event).names
        if not event.in_group or names is None:
            return list(known)
        return [one for one in known if one.name in names]

    async def _teach(self, event: MessageReceived, command: Command, says: CommandTexts) -> str:
        """Add an entry, or take one back; either done again changes nothing."""
        scope = self._scope(event)
        if command.verb()[0] == "add":
            done, action = entries.add, "entry_added"
        else:
            done, action = entries.remove, "entry_removed"
        told, target = await done(self._knowledge, scope, command.after_verb(), says)
        if target:
            actor = f"{event.conversation.channel}/{event.sender.id}"
            await self._audit.add(actor, action, target)
            logger.info("%s: %s", action, target, extra={"event": action})
        return told

    def _scope(self, event: MessageReceived) -> Scope:
        return self._scopes.of_person(
            event.conversation.channel, event.sender.id, in_group=event.in_group
        )

    async def _search(self, event: MessageReceived, words: str, says: CommandTexts) -> str:
        if not words:
            return says.search_usage
        found = await self._find(event, words)
        return says.search_fails if found is None else admin_texts.passages(found, SHOWN, says)

    async def _find(self, event: MessageReceived, words: str) -> Retrieval | None:
        """What the sender would be answered from; others may read along."""
        scope = self._scope(event)
        try:
            return await self._knowledge.search(words, names=scope.names, where=scope.where)
        except KnowledgeBaseUnavailable as error:
            logger.warning("no search: %s", error, extra={"event": "knowledge_unavailable"})
            return None

    async def _reload(
        self, conversation: Conversation, event: MessageReceived, name: str, says: CommandTexts
    ) -> Outcome:
        names = [one.name for one in await self._named(event)]
        if name and name not in names:
            known = ", ".join(names)
            return _says(conversation, says.reload_unknown.format(name=name, names=known))
        load = Load(job_id=new_job_id(), names=(name,) if name else None)
        return _says(conversation, says.reload_began, load=load)

    async def _hand_off(self, conversation: Conversation, language: Language) -> Outcome:
        if not bot_may_speak(conversation):
            return _says(conversation, command_texts(language).with_person)
        asked = await self._transcripts.last_question(conversation.id)
        return outcome_of(conversation, person_turn(asked or "", texts(language)))

    async def _resume(
        self, conversation: Conversation, event: MessageReceived, says: CommandTexts
    ) -> Outcome:
        try:
            if not bot_may_speak(conversation):
                # A step of its own that tells the customer and the desk; done again it is refused.
                await self._hand_back(conversation.id, event.sender.display_name or event.sender.id)
                return Outcome(before=conversation, after=conversation)
        except ConversationChanged:
            logger.info("the bot has it already", extra={"event": "resume_late"})
        return _says(conversation, says.with_bot)

    async def _why(
        self, conversation: Conversation, event: MessageReceived, says: CommandTexts
    ) -> str:
        turn = await self._accounts.find_turn(
            conversation.id, conversation.address, event.in_reply_to
        )
        if turn is None:
            return says.why_nothing
        # The turn keeps its evidence; the passages are looked for again.
        found = await self._find(event, turn.question)
        return admin_texts.why(turn, found, self._max_wrong_percent, SHOWN, says)

    async def _stats(self, words: str, says: CommandTexts) -> str:
        days = days_in(words, default=STATS_DAYS, most=LONGEST_STATS_DAYS)
        if days is None:
            return says.stats_usage.format(most=LONGEST_STATS_DAYS)
        stats = await self._accounts.stats(self._clock() - timedelta(days=days))
        return admin_texts.stats(stats, days, says)


def failed_command(conversation: Conversation, text: str) -> Outcome:
    """What a command that went wrong again and again comes to."""
    if not (bot_may_speak(conversation) or conversation.state is State.THREAD):
        return Outcome(before=conversation, after=conversation)
    return _says(conversation, command_texts(last_spoken([text]) or "en").failed)


def _to_customer(command: Command, language: Language) -> str:
    if command.name == "start":
        return texts(language).chat_greeting
    says = command_texts(language)
    return says.help if command.name == "help" else says.refused


def _pause(conversation: Conversation, command: Command, says: CommandTexts) -> Outcome:
    verb, _ = command.verb()
    if verb == "pause":
        return _says(conversation, says.paused, pause=True)
    if verb == "resume":
        return _says(conversation, says.resumed, pause=False)
    return _says(conversation, says.admin_help.strip())


def _says(
    conversation: Conversation, text: str, *, pause: bool | None = None, load: Load | None = None
) -> Outcome:
    return Outcome(
        before=conversation,
        after=conversation,
        replies=(Reply(text=text, is_aside=True),),
        pause=pause,
        load=load,
        is_command=True,
    )
