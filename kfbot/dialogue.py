"""What each kind of inbound event leads to: reads the store, returns an outcome to commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kfbot.admin import Admin
from kfbot.answer import answer_question
from kfbot.clarification import chosen
from kfbot.commands import parse
from kfbot.conversation import Choice, Conversation, bot_may_speak
from kfbot.etiquette import OVERHEARD_MAX_WRONG_PERCENT, answerable, burst
from kfbot.knowledge_base import NOTHING, KnowledgeBase, Scope
from kfbot.language import language_of
from kfbot.manners import Manners
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    ConversationMoved,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OwnershipChanged,
)
from kfbot.store.conversations import ConversationStore, StoredButton
from kfbot.store.transcripts import Context, TranscriptStore
from kfbot.store.work import StoredEvent
from kfbot.texts import texts
from kfbot.turn import (
    NewButton,
    Outcome,
    Reply,
    chosen_turn,
    outcome_of,
    person_turn,
    take_turn,
)

_OWNER_CHANGES = {"claimed": "claim", "handed_back": "hand_back", "resolved": "resolve"}


@dataclass(frozen=True, slots=True)
class Batch:
    """Waiting events that are worked on together."""

    events: tuple[StoredEvent, ...]
    #: The event to act on, with the texts of a burst joined and edits applied; None: nothing.
    event: InboundEvent | None
    #: Wait so long for the thought to be finished first.
    pause: timedelta = timedelta()


def next_batch(waiting: Sequence[StoredEvent], now: datetime) -> Batch:
    """The events to work on next, edits and deletions of waiting messages folded in."""
    first = waiting[0]
    if not isinstance(first.event, MessageReceived) or not _may_be_joined(first.event):
        return Batch((first,), first.event)
    run: list[tuple[StoredEvent, MessageReceived]] = []
    folded: list[StoredEvent] = []
    for stored in waiting:
        event = stored.event
        if isinstance(event, MessageReceived):
            if not _may_be_joined(event) or event.sender.id != first.event.sender.id:
                break
            run.append((stored, event))
        elif isinstance(event, MessageEdited | MessageDeleted):
            if not _fold(run, event):
                break
            folded.append(stored)
        else:
            break
    return _joined(run, folded, now)


def _may_be_joined(message: MessageReceived) -> bool:
    """A command stands alone, and so does what is not meant for the bot."""
    return answerable(message) and parse(message.text, mistyped=True) is None


def _fold(
    run: list[tuple[StoredEvent, MessageReceived]], event: MessageEdited | MessageDeleted
) -> bool:
    for place, (stored, message) in enumerate(run):
        if message.message_id == event.message_id:
            text = event.text if isinstance(event, MessageEdited) else ""
            run[place] = (stored, replace(message, text=text))
            return True
    return False


def _joined(
    run: Sequence[tuple[StoredEvent, MessageReceived]],
    folded: Sequence[StoredEvent],
    now: datetime,
) -> Batch:
    spoken = [(stored, message) for stored, message in run if message.text.strip()]
    if not spoken:
        # Taken back, or nothing but white space: the latter deserves a word.
        taken_back = any(isinstance(stored.event, MessageDeleted) for stored in folded)
        everything = (*(stored for stored, _ in run), *folded)
        return Batch(everything, None if taken_back else run[0][1])
    count, pause = burst([(message, stored.received_at) for stored, message in spoken], now)
    taken = spoken[:count]
    text = "\n".join(message.text for _, message in taken)
    until = run.index(taken[-1]) + 1
    edits = [
        stored
        for stored in folded
        if any(_about(stored.event, message) for _, message in run[:until])
    ]
    return Batch(
        (*(stored for stored, _ in run[:until]), *edits),
        replace(taken[-1][1], text=text),
        pause,
    )


def _about(event: InboundEvent, message: MessageReceived) -> bool:
    return (
        isinstance(event, MessageEdited | MessageDeleted) and event.message_id == message.message_id
    )


class Dialogue:
    """Knows what to do with every kind of event."""

    def __init__(
        self,
        knowledge: KnowledgeBase,
        conversations: ConversationStore,
        transcripts: TranscriptStore,
        *,
        manners: Manners,
        admin: Admin,
        scopes: Mapping[str, Scope],
        max_wrong_percent: float,
        clock: Callable[[], datetime],
        on_turn: Callable[[ConversationId], None],
    ) -> None:
        """Connect the parts.

        Args:
            scopes: What a channel's customers may be answered from; absent: nothing.
            on_turn: Told where an answer is about to be looked for.
        """
        self._knowledge = knowledge
        self._conversations = conversations
        self._transcripts = transcripts
        self._manners = manners
        self._admin = admin
        self._on_turn = on_turn
        self._scopes = scopes
        self._max_wrong_percent = max_wrong_percent
        self._clock = clock

    async def respond(self, conversation: Conversation, batch: Batch) -> Outcome:
        """What a batch leads to.

        Raises:
            StoreUnavailable: Nothing was changed; try again.
        """
        event = batch.event
        if isinstance(event, MessageReceived):
            return await self._received(conversation, batch, event)
        if isinstance(event, MessageEdited):
            return await self._edited(conversation, batch, event)
        if isinstance(event, ButtonPressed):
            return await self._pressed(conversation, event)
        if isinstance(event, OwnershipChanged):
            change = _OWNER_CHANGES[event.change]
            return Outcome(
                before=conversation,
                after=conversation,
                owner_change=(change, event.agent.display_name or event.agent.id),  # type: ignore[arg-type]
            )
        if isinstance(event, ConversationMoved):
            return Outcome(before=conversation, after=conversation, moved_to=event.moved_to)
        return Outcome(before=conversation, after=conversation)

    async def _received(
        self, conversation: Conversation, batch: Batch, event: MessageReceived
    ) -> Outcome:
        if event.sender.role == "agent":
            agent = event.sender.display_name or event.sender.id
            return Outcome(before=conversation, after=conversation, owner_change=("claim", agent))
        if not answerable(event):
            return await self._overheard(conversation, batch, event)
        is_admin = self._admin.is_admin(event)
        command = parse(event.text, mistyped=is_admin)
        if command is not None and is_admin:
            return await self._admin.respond(conversation, event, command)
        if bot_may_speak(conversation):
            verdict = await self._manners.judge(event, batch.events)
            if verdict == "notice":
                notice = texts(language_of(event.text)).too_many
                return _says(conversation, Reply(text=notice, is_aside=True))
            if verdict != "answer":
                return Outcome(before=conversation, after=conversation)
        if command is not None:
            return await self._admin.turn_away(conversation, event, command)
        return await self._asked(conversation, batch, event)

    async def _asked(
        self, conversation: Conversation, batch: Batch, event: MessageReceived
    ) -> Outcome:
        context = await self._context(conversation, batch)
        if bot_may_speak(conversation) and (choice := chosen(event.text, context.choices)):
            if isinstance(choice, Choice):
                return await self._choose(conversation, choice)
            return await self._person(conversation, event.text)
        return await self._ask(conversation, context, event.text)

    async def _overheard(
        self, conversation: Conversation, batch: Batch, event: MessageReceived
    ) -> Outcome:
        """Answer what nobody in particular was asked, where the bot is very sure; else nothing."""
        nothing = Outcome(before=conversation, after=conversation)
        if not self._manners.may_overhear(event) or not bot_may_speak(conversation):
            return nothing
        if await self._manners.judge(event, batch.events) != "answer":
            return nothing
        turn = await answer_question(
            event.text,
            self._knowledge,
            scope=self._scopes.get(conversation.address.channel, NOTHING),
            max_wrong_percent=min(self._max_wrong_percent, OVERHEARD_MAX_WRONG_PERCENT),
        )
        if turn.decision != "answer":
            return nothing
        outcome = outcome_of(conversation, turn)
        # Nobody asked the bot: it does not ask for a verdict either.
        plain = tuple(replace(reply, buttons=()) for reply in outcome.replies)
        return replace(outcome, replies=plain)

    async def _context(self, conversation: Conversation, batch: Batch) -> Context:
        return await self._transcripts.context(conversation.id, batch.events[0].event.event_id)

    async def _ask(self, conversation: Conversation, context: Context, question: str) -> Outcome:
        if bot_may_speak(conversation):
            self._on_turn(conversation.address)
        return await take_turn(
            conversation,
            question,
            context.history,
            self._knowledge,
            scope=self._scopes.get(conversation.address.channel, NOTHING),
            max_wrong_percent=self._max_wrong_percent,
        )

    async def _edited(
        self, conversation: Conversation, batch: Batch, event: MessageEdited
    ) -> Outcome:
        """After the answer an edit is a new question only if more than its form changed.

        What the bot did not answer (an agent's words, talk it only overheard) it does not answer
        for being edited.
        """
        found = await self._transcripts.answered_question(conversation.id, event.message_id)
        if found is None or event.sender.role != "customer":
            return Outcome(before=conversation, after=conversation)
        asked, reads = found
        last = await self._transcripts.last_question(conversation.id)
        # Before a follow-up stands what it was joined with, each in a line.
        known = {_meaning(one.rsplit("\n", 1)[-1]) for one in (asked, last or "")}
        if not reads.strip() or _meaning(reads) in known:
            return Outcome(before=conversation, after=conversation)
        channel = conversation.address.channel
        if await self._manners.is_paused(conversation.address) or (
            await self._transcripts.was_overheard(conversation.id, channel, event.message_id)
        ):
            return Outcome(before=conversation, after=conversation)
        return await self._ask(conversation, await self._context(conversation, batch), reads)

    async def _pressed(self, conversation: Conversation, event: ButtonPressed) -> Outcome:
        button = await self._conversations.find_button(conversation.id, event.token)
        if not bot_may_speak(conversation) or await self._manners.is_paused(conversation.address):
            # What is not acted on may be pressed again later; a verdict counts all the same.
            is_verdict = button is not None and button.action in ("helpful", "not_helpful")
            pressed = event.token if is_verdict else None
            return Outcome(before=conversation, after=conversation, pressed=pressed)
        if button is None or button.expires_at < self._clock():
            asked = await self._transcripts.last_question(conversation.id)
            says = texts(language_of(asked or ""))
            return _says(conversation, Reply(text=says.expired))
        # Who presses for a person when the bot has the conversation back wants one again.
        if button.pressed_at is not None and button.action != "person":
            return Outcome(before=conversation, after=conversation)
        return replace(await self._act(conversation, button), pressed=event.token)

    async def _act(self, conversation: Conversation, button: StoredButton) -> Outcome:
        says = texts(language_of(button.label))
        if button.action == "choice":
            knowledge_base, _, document_id = button.value.partition("/")
            return await self._choose(
                conversation, Choice(document_id, button.label, knowledge_base)
            )
        if button.action == "person":
            return await self._person(conversation, button.label)
        if button.action == "helpful":
            return _says(conversation, Reply(text=says.thanks_for_feedback))
        return _says(
            conversation,
            Reply(
                text=says.sorry_not_helpful,
                buttons=(NewButton(says.person, "person"),),
            ),
        )

    async def _person(self, conversation: Conversation, words: str) -> Outcome:
        """Get a person for what was asked last; `words` made that wish."""
        asked = await self._transcripts.last_question(conversation.id)
        return outcome_of(conversation, person_turn(asked or words, texts(language_of(words))))

    async def _choose(self, conversation: Conversation, choice: Choice) -> Outcome:
        scope = self._scopes.get(conversation.address.channel, NOTHING)
        turn = await chosen_turn(choice, self._knowledge, scope=scope)
        return outcome_of(conversation, turn)


def _says(conversation: Conversation, reply: Reply) -> Outcome:
    return Outcome(before=conversation, after=conversation, replies=(reply,))


def _meaning(text: str) -> str:
    """A text without its form: letters and digits alone."""
    return re.sub(r"\W+", "", text).casefold()
