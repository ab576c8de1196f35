"""What each kind of inbound event leads to: reads the store, returns an outcome to commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from kfbot.actions.conduct import Actions
from kfbot.actions.replies import SAYS
from kfbot.actions.said import Said, said_in
from kfbot.admin.admin import Admin
from kfbot.admin.commands import parse
from kfbot.answer import Answering, answer_question
from kfbot.batching import Batch
from kfbot.cases.talk import CaseTalk
from kfbot.conversation import Choice, Conversation, State, bot_may_speak
from kfbot.etiquette import OVERHEARD_MAX_WRONG_PERCENT, answerable
from kfbot.grounding.writing import OnText
from kfbot.handoff.escalation import Escalation
from kfbot.knowledge_base import NOTHING, Scope
from kfbot.language import language_of
from kfbot.manners import Manners
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    ConversationMoved,
    InboundEvent,
    MessageEdited,
    MessageReceived,
    OwnershipChanged,
)
from kfbot.permissions import Permissions
from kfbot.store.conversations import ConversationStore, StoredButton
from kfbot.store.transcripts import Context, TranscriptStore
from kfbot.templates import hidden
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
from kfbot.understanding.clarification import chosen
from kfbot.understanding.edits import as_said, meaning, means_the_same
from kfbot.understanding.wordless import wordless_outcome

_OWNER_CHANGES = {"claimed": "claim", "handed_back": "hand_back", "resolved": "resolve"}


class Dialogue:
    """Knows what to do with every kind of event."""

    def __init__(
        self,
        answering: Answering,
        conversations: ConversationStore,
        transcripts: TranscriptStore,
        *,
        manners: Manners,
        admin: Admin,
        case_talk: CaseTalk,
        escalation: Escalation,
        actions: Actions,
        scopes: Permissions,
        clock: Callable[[], datetime],
        on_turn: Callable[[ConversationId], None],
    ) -> None:
        """Connect the parts.

        Args:
            scopes: What people may be answered from; an absent channel: nothing.
            on_turn: Told where an answer is about to be looked for.
        """
        self._answering = answering
        self._conversations = conversations
        self._transcripts = transcripts
        self._manners = manners
        self._admin = admin
        self._case_talk = case_talk
        self._escalation = escalation
        self._actions = actions
        self._on_turn = on_turn
        self._scopes = scopes
        self._clock = clock

    async def may_answer(self, conversation: Conversation) -> bool:
        """True where the bot would answer: the conversation is its own, or it stands in.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return bot_may_speak(conversation) or await self._escalation.stands_in(conversation)

    async def respond(
        self, conversation: Conversation, batch: Batch, *, on_text: OnText | None = None
    ) -> Outcome:
        """What a batch leads to.

        Args:
            on_text: Told what a chat model writes, as it grows; it may come to something else.

        Raises:
            StoreUnavailable: Nothing was changed; try again.
        """
        event = batch.event
        if conversation.state is State.THREAD and event is not None:
            return await self._case_talk.respond(conversation, event)
        if event is not None and self._is_customers(event):
            # What waited in line while an agent wrote is the agent's.
            if await self._transcripts.agent_wrote_since(conversation, event.event_id):
                return Outcome(before=conversation, after=conversation)
            if await self._escalation.stands_in(conversation):
                bots = replace(conversation, state=State.BOT)
                outcome = await self._respond(bots, batch, event, on_text)
                return self._escalation.still_waiting(conversation, outcome)
        return self._escalation.told(await self._respond(conversation, batch, event, on_text))

    def told(self, outcome: Outcome) -> Outcome:
        """An outcome that was not found here, with the same words where nobody is there."""
        return self._escalation.told(outcome)

    def _is_customers(self, event: InboundEvent) -> bool:
        """True for what a customer does, and the machine is not told to do."""
        if isinstance(event, MessageReceived):
            is_command = self._admin.is_admin(event) and parse(event.text, mistyped=True)
            return event.sender.role == "customer" and not is_command
        return isinstance(event, MessageEdited | ButtonPressed)

    async def _respond(
        self,
        conversation: Conversation,
        batch: Batch,
        event: InboundEvent | None,
        on_text: OnText | None,
    ) -> Outcome:
        if isinstance(event, MessageReceived):
            return await self._received(conversation, batch, event, on_text)
        if isinstance(event, MessageEdited):
            return await self._edited(conversation, batch, event, on_text)
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
        self,
        conversation: Conversation,
        batch: Batch,
        event: MessageReceived,
        on_text: OnText | None,
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
        if (refusal := await self._refusal(conversation, batch, event)) is not None:
            return refusal
        if command is not None:
            return await self._admin.turn_away(conversation, event, command)
        return await self._asked(conversation, batch, event, on_text)

    async def _refusal(
        self, conversation: Conversation, batch: Batch, event: MessageReceived
    ) -> Outcome | None:
        """What comes of a turn that is too much, or where the bot was told to be silent."""
        if not bot_may_speak(conversation):
            return None
        verdict = await self._manners.judge(event, batch.events)
        if verdict == "notice":
            notice = texts(language_of(event.text)).too_many
            return _says(conversation, Reply(text=notice, is_aside=True))
        return None if verdict == "answer" else Outcome(before=conversation, after=conversation)

    async def _asked(
        self,
        conversation: Conversation,
        batch: Batch,
        event: MessageReceived,
        on_text: OnText | None,
    ) -> Outcome:
        if event.is_edited and await self._is_answered(conversation, event):
            return Outcome(before=conversation, after=conversation)
        context = await self._context(conversation, batch)
        usual = partial(self._usual, conversation, context, event, on_text)
        said = said_in(conversation, batch, event, event.text, context)
        return await self._actions.respond(said, usual)

    async def _usual(
        self,
        conversation: Conversation,
        context: Context,
        event: MessageReceived,
        on_text: OnText | None,
        text: str,
    ) -> Outcome:
        """What comes of a message, or of a part of it, that no action takes."""
        if bot_may_speak(conversation) and (choice := chosen(text, context.choices)):
            if isinstance(choice, Choice):
                return await self._choose(conversation, choice, self._scope(event))
            return await self._person(conversation, text)
        if bot_may_speak(conversation) and (
            said := wordless_outcome(conversation, event, context.history)
        ):
            return said
        answering = self._answering
        if await self._escalation.is_grievance(conversation, text, context.last):
            # What nobody is to read is not written; what would be quoted is the agent's draft.
            answering = replace(answering, writer=None)
        outcome = await self._ask(
            conversation, context, text, self._scope(event), on_text, answering
        )
        return await self._escalation.reconsidered(outcome, text, context.last)

    async def _is_answered(self, conversation: Conversation, event: MessageReceived) -> bool:
        """True where the bot took a message for its own before it was told to by an edit."""
        found = await self._transcripts.answered_question(conversation.id, event.message_id)
        reads = hidden(event.text, self._answering.slots)
        return found is not None and meaning(reads) == meaning(found[0].rsplit("\n", 1)[-1])

    async def _overheard(
        self, conversation: Conversation, batch: Batch, event: MessageReceived
    ) -> Outcome:
        """Answer what nobody in particular was asked, where the bot is very sure; else nothing."""
        nothing = Outcome(before=conversation, after=conversation)
        if not self._manners.may_overhear(event) or not bot_may_speak(conversation):
            return nothing
        if await self._manners.judge(event, batch.events) != "answer":
            return nothing
        dial = min(self._answering.max_wrong_percent, OVERHEARD_MAX_WRONG_PERCENT)
        turn = await answer_question(
            event.text,
            replace(self._answering, max_wrong_percent=dial),
            scope=self._scopes.get(conversation.address.channel, NOTHING),
            channel=conversation.address.channel,
        )
        if turn.decision != "answer":
            return nothing
        outcome = outcome_of(conversation, turn)
        # Nobody asked the bot: it does not ask for a verdict either.
        plain = tuple(replace(reply, buttons=()) for reply in outcome.replies)
        return replace(outcome, replies=plain)

    async def _context(self, conversation: Conversation, batch: Batch) -> Context:
        return await self._transcripts.context(conversation.id, batch.events[0].event.event_id)

    def _scope(self, event: MessageReceived | MessageEdited | ButtonPressed) -> Scope:
        """What the sender may be answered from, where this was said."""
        return self._scopes.of_person(
            event.conversation.channel, event.sender.id, in_group=event.in_group
        )

    async def _ask(
        self,
        conversation: Conversation,
        context: Context,
        question: str,
        scope: Scope,
        on_text: OnText | None,
        answering: Answering,
    ) -> Outcome:
        if bot_may_speak(conversation):
            self._on_turn(conversation.address)
        return await take_turn(
            conversation,
            question,
            context.history,
            answering,
            scope=scope,
            on_text=on_text,
            last_question=context.last.question if context.last else None,
        )

    async def _edited(
        self,
        conversation: Conversation,
        batch: Batch,
        event: MessageEdited,
        on_text: OnText | None,
    ) -> Outcome:
        """After the answer an edit is a new question only if more than its form changed.

        What the bot did not answer (an agent's words, talk it only overheard) it does not answer
        for being edited; a command that comes of it is carried out.
        """
        nothing = Outcome(before=conversation, after=conversation)
        channel = conversation.address.channel
        said = await self._transcripts.said_first(conversation.id, channel, event.message_id)
        if event.sender.role != "customer" or (said is not None and not said.addressed_to_bot):
            return nothing
        changed = as_said(event, said)
        if said is not None and (command := parse(event.text, mistyped=self._admin.is_admin(said))):
            was_given = parse(said.text, mistyped=True) == command
            if was_given:
                return nothing
            return await self._received(conversation, batch, changed, on_text)
        found = await self._transcripts.answered_question(conversation.id, event.message_id)
        if found is None:
            return nothing
        asked, reads = found
        last = await self._transcripts.last_question(conversation.id)
        if means_the_same(reads, (asked, last or ""), event, said, self._answering.slots):
            return nothing
        if (refusal := await self._refusal(conversation, batch, changed)) is not None:
            return refusal
        context, scope = await self._context(conversation, batch), self._scope(event)

        async def usual(text: str) -> Outcome:
            return await self._ask(conversation, context, text, scope, on_text, self._answering)

        return await self._actions.respond(
            said_in(conversation, batch, event, reads, context), usual
        )

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
        return replace(await self._act(conversation, button, event), pressed=event.token)

    async def _act(
        self, conversation: Conversation, button: StoredButton, event: ButtonPressed
    ) -> Outcome:
        says = texts(language_of(button.label))
        if button.value.startswith(SAYS):
            said = Said(
                conversation=conversation,
                customer=event.sender,
                text=button.label,
                event_id=event.event_id,
                in_group=event.in_group,
            )
            expired = _says(conversation, Reply(text=says.expired))
            return await self._actions.pressed(said, button.value, expired)
        if button.action == "choice":
            knowledge_base, _, document_id = button.value.partition("/")
            choice = Choice(document_id, button.label, knowledge_base)
            return await self._choose(conversation, choice, self._scope(event))
        if button.action == "person":
            return await self._person(conversation, button.label)
        if button.action == "helpful":
            return _says(conversation, Reply(text=says.thanks_for_feedback))
        if await self._escalation.not_helpful_twice(conversation, event.token):
            asked = await self._transcripts.last_question(conversation.id)
            return self._escalation.gets_person(conversation, asked or "", button.label)
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

    async def _choose(self, conversation: Conversation, choice: Choice, scope: Scope) -> Outcome:
        turn = await chosen_turn(
            choice,
            self._answering,
            scope=scope,
            asked=await self._transcripts.last_question(conversation.id) or "",
            channel=conversation.address.channel,
        )
        return outcome_of(conversation, turn)


def _says(conversation: Conversation, reply: Reply) -> Outcome:
    return Outcome(before=conversation, after=conversation, replies=(reply,))
