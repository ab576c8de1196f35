"""What agents do in the thread of a case, and what it leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from kfbot.adapter import ChannelAdapter
from kfbot.admin.admin import Admin
from kfbot.admin.commands import parse
from kfbot.cases.posts import CaseThread, command_in, goes_to_customer, note_in
from kfbot.conversation import Conversation, Language
from kfbot.language import language_of, last_spoken
from kfbot.messages import ButtonPressed, InboundEvent, MessageEdited, MessageReceived, Sender
from kfbot.store.case_threads import CaseThreadStore
from kfbot.store.conversations import ConversationStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.texts import ThreadTexts, texts, thread_texts
from kfbot.turn import CaseStep, Outcome, Reply

_Change = Literal["claim", "hand_back", "resolve"]


class CaseTalk:
    """Reads what agents write and press; what they want done is committed with the outcome."""

    def __init__(
        self,
        *,
        store: CaseThreadStore,
        conversations: ConversationStore,
        transcripts: TranscriptStore,
        channels: Mapping[str, ChannelAdapter],
        admin: Admin,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._transcripts = transcripts
        self._channels = channels
        self._admin = admin
        self._clock = clock

    async def respond(self, conversation: Conversation, event: InboundEvent) -> Outcome:
        """What an event in a chat of agents leads to.

        Outside the threads of cases only commands of admins are answered.

        Raises:
            StoreUnavailable: Nothing was changed; try again.
        """
        nothing = _outcome(conversation)
        if not isinstance(event, MessageReceived | MessageEdited | ButtonPressed):
            return nothing
        if event.sender.role != "agent":
            return nothing
        thread = await self._store.find(conversation.id)
        if isinstance(event, MessageReceived):
            if thread is None:
                return await self._command(conversation, event) or nothing
            return await self._said(conversation, thread, event)
        if thread is None:
            return nothing
        if isinstance(event, ButtonPressed):
            return await self._pressed(conversation, thread, event)
        if thread.case.closed_at is not None or not goes_to_customer(event.text):
            return nothing
        says = thread_texts(await self._language(thread))
        return _outcome(conversation, reply=says.edited)

    async def _command(self, conversation: Conversation, event: MessageReceived) -> Outcome | None:
        """What a command of an admin leads to; None: it is none."""
        if not self._admin.is_admin(event):
            return None
        command = parse(event.text, mistyped=True)
        return await self._admin.respond(conversation, event, command) if command else None

    async def _said(
        self, conversation: Conversation, thread: CaseThread, event: MessageReceived
    ) -> Outcome:
        language = await self._language(thread)
        says = thread_texts(language)
        if (note := note_in(event.text)) is not None:
            step = self._step(thread, event.sender, None, language, text=note) if note else None
            return _outcome(conversation, step=step)
        command = command_in(event.text)
        if command == "claim" or command == "hand_back" or command == "resolve":
            step = self._step(thread, event.sender, command, language)
            return _outcome(conversation, step=step)
        if command is not None:
            return await self._answered(conversation, event, says)
        reply = says.files if event.attachments else ""
        if not event.text.strip():
            return _outcome(conversation, reply=reply)
        step = self._step(thread, event.sender, "claim", language, text=event.text.strip())
        return _outcome(conversation, step=step, reply=reply)

    async def _answered(
        self, conversation: Conversation, event: MessageReceived, says: ThreadTexts
    ) -> Outcome:
        """The answer to a command that does nothing to the case."""
        if command_in(event.text) == "help":
            return _outcome(conversation, reply=says.help.strip())
        if (outcome := await self._command(conversation, event)) is not None:
            return outcome
        if parse(event.text) is not None:
            return _outcome(conversation, reply=says.not_admin)
        return _outcome(conversation, reply=f"{says.unknown}\n\n{says.help.strip()}")

    async def _pressed(
        self, conversation: Conversation, thread: CaseThread, event: ButtonPressed
    ) -> Outcome:
        language = await self._language(thread)
        button = await self._conversations.find_button(conversation.id, event.token)
        if button is None or button.expires_at < self._clock():
            return _outcome(conversation, reply=thread_texts(language).expired)
        if button.action not in ("claim", "hand_back", "resolve"):
            return _outcome(conversation)
        step = self._step(thread, event.sender, button.action, language)
        return _outcome(conversation, step=step, pressed=event.token)

    def _step(
        self,
        thread: CaseThread,
        agent: Sender,
        change: _Change | None,
        language: Language,
        *,
        text: str = "",
    ) -> CaseStep:
        adapter = self._channels.get(thread.conversation.address.channel)
        # A channel that is not configured now gets its messages once it is again.
        pushed = adapter is None or not adapter.capabilities.reads_transcript
        to_customer, says = texts(language), thread_texts(language)
        notices = {"hand_back": to_customer.handback, "resolve": to_customer.resolved}
        return CaseStep(
            case_id=thread.case.id,
            conversation_id=thread.conversation.id,
            agent=agent,
            change=change,
            text=text,
            notice=notices.get(change or "", ""),
            pushed=pushed,
            text_length=adapter.capabilities.text_length if adapter and pushed else None,
            taken=says.taken,
            closed=says.closed,
        )

    async def _language(self, thread: CaseThread) -> Language:
        """What the customer speaks."""
        context = await self._transcripts.context(thread.conversation.id)
        spoken = (one.text for one in reversed(context.history) if one.role == "customer")
        return last_spoken(spoken) or language_of(thread.case.question)


def _outcome(
    conversation: Conversation,
    *,
    step: CaseStep | None = None,
    reply: str = "",
    pressed: str | None = None,
) -> Outcome:
    return Outcome(
        before=conversation,
        after=conversation,
        replies=(Reply(text=reply, is_aside=True),) if reply else (),
        pressed=pressed,
        case_step=step,
    )
