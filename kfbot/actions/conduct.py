"""Leads a customer through an action: begins it, asks for what is missing, calls, and answers."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from kfbot.actions import replies
from kfbot.actions.calling import ActionCaller, Came
from kfbot.actions.memory import Memory, Remembered, Running
from kfbot.actions.phrases import Phrases, Wish, says_nothing_more, without
from kfbot.actions.proposing import Proposing, found_nothing
from kfbot.actions.requests import request_id, request_of
from kfbot.actions.said import Said, ends, language_in, lately
from kfbot.actions.settings import ActionSettings
from kfbot.actions.slot_settings import SlotSettings
from kfbot.actions.turns import ActionTurns
from kfbot.actions.values import chosen_value, find_values
from kfbot.chat_model import ChatModel
from kfbot.conversation import (
    Choice,
    Conversation,
    HistoryMessage,
    Turn,
    bot_may_speak,
)
from kfbot.handoff.escalation import Escalation
from kfbot.language import language_of
from kfbot.messages import Sender
from kfbot.store.action_memory import ActionMemory
from kfbot.templates import hidden
from kfbot.texts import action_texts, means, small_talk, texts, wants_person
from kfbot.turn import Outcome, Reply, outcome_of, person_turn
from kfbot.understanding.clarification import chosen
from kfbot.understanding.several_questions import asks

#: What becomes of a message that no action takes.
Usual = Callable[[str], Awaitable[Outcome]]


class Actions:
    """Carries out the actions of the settings."""

    def __init__(
        self,
        settings: Mapping[str, ActionSettings],
        slots: Mapping[str, SlotSettings],
        store: ActionMemory,
        escalation: Escalation,
        clock: Callable[[], datetime],
        model: ChatModel | None = None,
    ) -> None:
        """None as the model: an action is begun, and offered, for its phrases alone."""
        self._settings = settings
        self._slots = slots
        self._store = store
        self._escalation = escalation
        self._clock = clock
        self._phrases = Phrases(settings)
        self._turns = ActionTurns(settings, slots)
        self._proposing = Proposing(model, settings, slots, self._phrases)
        self._values = [
            slots[name].expression
            for name in dict.fromkeys(name for one in settings.values() for name in one.slots)
        ]
        self._callers = {name: ActionCaller(name, one) for name, one in settings.items()}

    async def respond(self, said: Said, usual: Usual) -> Outcome:
        """What an action makes of a message, or what becomes of it without one.

        Raises:
            StoreUnavailable: The memory cannot be read; nothing was done.
        """
        if not self._settings or not bot_may_speak(said.conversation):
            return await usual(said.text)
        memory = await self._store.find(said.conversation, said.customer.id)
        picked = chosen(said.text, said.context.choices)
        if (answer := await self._offer_answered(said, memory, picked)) is not None:
            return answer
        if isinstance(picked, Choice) and self._phrases.find(picked.label) is not None:
            said = replace(said, text=picked.label)
        if (running := memory.running) is None or not self._is_known(running):
            return await self._begun(said, memory, usual)
        if isinstance(picked, Choice) and not running.awaiting and replies.is_verdict(picked):
            said = replace(said, text=picked.label)
        return await self._continued(said, memory, running, usual)

    def _is_known(self, running: Running) -> bool:
        """False for what was begun under other settings."""
        action = self._settings.get(running.action)
        return action is not None and running.awaiting in ("", *action.slots)

    async def pressed(self, said: Said, value: str, expired: Outcome) -> Outcome:
        """What a button says that an action showed.

        Raises:
            StoreUnavailable: The memory cannot be read; nothing was done.
        """
        began, awaiting, text = replies.pressed_words(value)
        memory = await self._store.find(said.conversation, said.customer.id)
        running = memory.running

        async def usual(_: str) -> Outcome:
            return expired

        said, offered = replace(said, text=text), memory.offered
        if not began and offered and offered.began == awaiting and self._is_known(offered):
            return await self._taken(said, offered, memory)
        if began and (running is None or (running.began, running.awaiting) != (began, awaiting)):
            return expired
        return await self.respond(said, usual)

    async def alone(self, text: str, history: Sequence[HistoryMessage] = ()) -> Turn | None:
        """What an action makes of a question that belongs to no conversation; None: nothing.

        Nothing is remembered: what is missing is asked for, and must come with the whole wish.
        """
        wish = self._phrases.find(text, self._values)
        if wish is None or asks(wish.rest):
            return None
        running = Running(action=wish.action, began="", language=language_in(text, history))
        running = self._with(running, text)
        if (missing := self._missing(running)) is not None:
            return self._turns.turn(text, "clarify", self._slots[missing].asks(running.language))
        if self._settings[running.action].confirm:
            return self._turns.turn(text, "clarify", self._turns.confirm_text(running))
        came = await self._called(running, None, None, secrets.token_hex(16))
        return self._turns.came_to(text, running, came)

    async def offered_alone(
        self, turn: Turn, text: str, history: Sequence[HistoryMessage], channel: str
    ) -> Turn:
        """A turn that belongs to no conversation, or the offer of an action if it found nothing.

        Args:
            turn: What the documents made of the text.
            channel: Whose rules of handoff hold, and whose budget of tokens it counts for.
        """
        if not found_nothing(turn) or self._escalation.is_outburst(channel, text):
            return turn
        turn, offered = await self._proposing.meant(turn, text, history, channel=channel)
        if offered is None:
            return turn
        turn = self._turns.offered(turn, offered)
        # Nothing is remembered: what is sent back must hold the values.
        label = " ".join([turn.choices[0].label, *self._turns.told(offered)])
        return replace(turn, choices=(Choice(offered.action, label),))

    async def _begun(self, said: Said, memory: Memory, usual: Usual) -> Outcome:
        text = said.text
        wish = self._phrases.find(text, self._values) or self._again(said, memory)
        if wish is None:
            return self._told_of(memory, await self._offered(said, memory, await usual(text)))
        if await self._escalation.is_grievance(said.conversation, text, None):
            return await usual(text)
        before: tuple[Reply, ...] = ()
        if asks(wish.rest):
            other = await usual(wish.rest)
            if other.turn is None or other.turn.decision != "answer":
                return await usual(text)
            before = tuple(replace(one, buttons=()) for one in other.replies)
        language = language_in(text, said.context.history)
        running = Running(action=wish.action, began=said.event_id, language=language)
        running = self._remembering(said, self._with(running, text), memory)
        outcome = await self._advanced(said, running, replace(memory, offered=None))
        return replace(outcome, replies=(*before, *outcome.replies))

    def _again(self, said: Said, memory: Memory) -> Wish | None:
        """The last action once more, where the message is another value for it alone."""
        if memory.last not in self._settings:
            return None
        slots = self._turns.slots_of(memory.last)
        found = find_values(said.text, slots)
        is_new = any(memory.given.get(name) != value for name, value in found.items())
        patterns = [slots[name].expression for name in found]
        if not is_new or not says_nothing_more(said.text, patterns):
            return None
        return Wish(memory.last)

    def _with(self, running: Running, text: str) -> Running:
        """With what the message says; a value that was known is set right by another one."""
        slots = self._turns.slots_of(running.action)
        found = find_values(text, slots, first=running.awaiting, taken=running.values)
        return replace(running, values={**running.values, **found})

    def _remembering(self, said: Said, running: Running, memory: Memory) -> Running:
        """With what the customer said before, to an action or lately in this conversation."""
        slots = self._turns.slots_of(running.action)
        minutes = self._settings[running.action].expires_minutes
        earlier: dict[str, str] = {}
        for text in lately(said, self._clock(), timedelta(minutes=minutes)):
            earlier |= find_values(text, slots)
        known = {**earlier, **memory.given, **running.values}
        return replace(running, values={name: known[name] for name in slots if name in known})

    def _missing(self, running: Running) -> str | None:
        names = self._settings[running.action].slots
        return next((name for name in names if name not in running.values), None)

    async def _advanced(self, said: Said, running: Running, memory: Memory) -> Outcome:
        """Ask for what is missing, ask whether to go ahead, or do it."""
        missing = self._missing(running)
        if missing is not None and said.in_group and self._slots[missing].private:
            text = action_texts(running.language).in_private
            turn = self._turns.turn(said.text, "clarify", text)
            return self._left(
                said, replace(memory, running=None), outcome_of(said.conversation, turn)
            )
        if missing is not None or self._settings[running.action].confirm:
            return self._asked(said, replace(running, awaiting=missing or ""), memory)
        return await self._carried_out(said, running, memory)

    def _asked(self, said: Said, running: Running, memory: Memory, wrong: str = "") -> Outcome:
        reply, choices = self._question(running)
        text = f"{wrong} {reply.text}" if wrong else reply.text
        turn = replace(self._turns.turn(said.text, "clarify", text), choices=choices)
        outcome = replace(outcome_of(said.conversation, turn), replies=(replace(reply, text=text),))
        return self._left(said, replace(memory, running=running), outcome)

    def _question(self, running: Running) -> tuple[Reply, tuple[Choice, ...]]:
        if not running.awaiting:
            return replies.confirmation(self._turns.confirm_text(running), running)
        slot = self._slots[running.awaiting]
        return replies.question(slot.asks(running.language, running.wrong), slot, running)

    async def _continued(
        self, said: Said, memory: Memory, running: Running, usual: Usual
    ) -> Outcome:
        text = said.text
        is_grievance = await self._escalation.is_grievance(said.conversation, text, None)
        if is_grievance or wants_person(text):
            return self._beside(said, memory, running, await usual(text))
        wish = self._phrases.find(text, self._values)
        if wish is not None and wish.action != running.action:
            return await self._begun(said, replace(memory, running=None), usual)
        if (value := self._chosen(said, running)) is not None:
            values = {**running.values, running.awaiting: value}
            return await self._advanced(said, replace(running, values=values, wrong=0), memory)
        further = self._with(running, text)
        if further.values != running.values:
            return await self._advanced(said, replace(further, wrong=0), memory)
        if wish is not None:
            return self._asked(said, running, memory)
        return await self._answered(said, memory, running, usual)

    def _chosen(self, said: Said, running: Running) -> str | None:
        """The choice that is named, unless the last choices were about another question."""
        if not running.awaiting:
            return None
        slot = self._slots[running.awaiting]
        is_asked = {one.id for one in said.context.choices} <= set(slot.choices)
        return chosen_value(said.text, slot) if is_asked else None

    async def _answered(
        self, said: Said, memory: Memory, running: Running, usual: Usual
    ) -> Outcome:
        """What comes of words without a value."""
        text = said.text
        if not running.awaiting and means("means_yes", without(text, self._values)):
            return await self._carried_out(said, running, memory)
        # "Shall I cancel it?" – "Cancel": nobody knows which of the two is meant.
        is_doubtful = not running.awaiting and self._phrases.is_part(text, running.action)
        if ends(text) and not is_doubtful:
            turn = self._turns.turn(text, "smalltalk", action_texts(running.language).ended)
            return self._left(
                said, replace(memory, running=None), outcome_of(said.conversation, turn)
            )
        if running.awaiting and means("lacks", text):
            return self._stuck(said, running)
        if is_doubtful or small_talk(text):
            return self._asked(said, running, memory)
        if isinstance(chosen(text, said.context.choices), Choice):
            return self._beside(said, memory, running, await usual(text))
        if any(character.isdigit() for character in text) and not asks(text):
            return self._wrong(said, running, memory)
        outcome = await usual(text)
        unsure = outcome.turn is not None and outcome.turn.reason == "unsure"
        if unsure and not asks(text):
            return self._wrong(said, running, memory)
        return self._beside(said, memory, running, outcome)

    def _wrong(self, said: Said, running: Running, memory: Memory) -> Outcome:
        running = replace(running, wrong=running.wrong + 1)
        if running.wrong >= self._settings[running.action].most_wrong:
            return self._stuck(said, running)
        return self._asked(said, running, memory, action_texts(running.language).wrong)

    def _stuck(self, said: Said, running: Running) -> Outcome:
        turn = self._turns.handed_off(said.text, running, "action_stuck", "stuck")
        return self._left(said, Memory(), outcome_of(said.conversation, turn))

    def _beside(self, said: Said, memory: Memory, running: Running, outcome: Outcome) -> Outcome:
        """What another question led to; the action goes on, unless a person is got."""
        turn = outcome.turn
        if turn is None:
            return outcome
        if outcome.case_reason is not None:
            turn = self._turns.with_account(turn, running, "unfinished")
            return self._left(said, Memory(), replace(outcome, turn=turn))
        if turn.decision == "answer":
            reply, _ = self._question(running)
            outcome = replace(outcome, replies=(*outcome.replies, reply))
        return self._left(said, memory, outcome)

    def _told_of(self, memory: Memory, outcome: Outcome) -> Outcome:
        """What agents read of the action before it, where a person is got."""
        turn = outcome.turn
        if turn is None or outcome.case_reason is None or memory.last not in self._settings:
            return outcome
        slots = self._turns.slots_of(memory.last)
        values = {name: value for name, value in memory.given.items() if name in slots}
        language = language_of(turn.text)
        done = Running(action=memory.last, began="", language=language, values=values)
        return replace(outcome, turn=self._turns.with_account(turn, done, memory.came))

    async def _offered(self, said: Said, memory: Memory, outcome: Outcome) -> Outcome:
        """Where nothing was found: the action that the customer may have meant."""
        turn, here, context = outcome.turn, said.conversation, said.context
        if turn is None or not found_nothing(turn) or chosen(said.text, context.choices):
            return outcome
        if await self._escalation.is_grievance(here, said.text, context.last):
            return outcome
        turn, offered = await self._proposing.meant(
            turn, said.text, context.history,
            event_id=said.event_id,
            channel=here.address.channel,
            # Who passes an offer over gets a person, not another one.
            asks_model=memory.open_offer(context.choices) is None,
        )  # fmt: skip
        if offered is None:
            return replace(outcome, turn=turn)
        offered = self._remembering(said, offered, memory)
        turn = self._turns.offered(turn, offered)
        reply = replies.offer(turn.text, offered, turn.choices[0].label)
        outcome = replace(outcome_of(here, turn), replies=(reply,))
        return self._left(said, replace(memory, running=None, offered=offered), outcome)

    async def _offer_answered(
        self, said: Said, memory: Memory, picked: Choice | Literal["none"] | None
    ) -> Outcome | None:
        """What comes of a yes or a no to the offer of the last turn; None: it is neither."""
        offered, text = memory.open_offer(said.context.choices), said.text
        if offered is None or not self._is_known(offered):
            return None
        if isinstance(picked, Choice):
            return await self._taken(replace(said, text=picked.label), offered, memory)
        if means("means_yes", without(text, self._values)):
            return await self._taken(said, offered, memory)
        if means("stops", text):
            turn = self._turns.turn(text, "smalltalk", action_texts(offered.language).ended)
        elif means("means_no", text):
            asked = said.context.last.question if said.context.last else text
            turn = person_turn(asked, texts(offered.language), "unsure")
        else:
            return None
        left = replace(memory, offered=None)
        return self._left(said, left, self._told_of(memory, outcome_of(said.conversation, turn)))

    async def _taken(self, said: Said, offered: Running, memory: Memory) -> Outcome:
        """Begin what was offered, with what was known of it then and what is said now."""
        running = self._with(replace(offered, began=said.event_id), said.text)
        return await self._advanced(said, running, replace(memory, running=None, offered=None))

    async def _carried_out(self, said: Said, running: Running, memory: Memory) -> Outcome:
        came = await self._called(running, said.conversation, said.customer, said.event_id)
        turn = self._turns.came_to(said.text, running, came)
        given = {**memory.given, **running.values}
        memory = Memory()
        if turn.reason is None:
            memory = Memory(given=given, last=running.action, came=came.kind)
        minutes = self._settings[running.action].expires_minutes
        outcome = outcome_of(said.conversation, turn)
        return self._left(said, replace(memory, expires_minutes=minutes), outcome)

    async def _called(
        self,
        running: Running,
        conversation: Conversation | None,
        customer: Sender | None,
        event_id: str,
    ) -> Came:
        body = request_of(running, conversation, customer)
        webhook_id = request_id(running, self._settings[running.action], conversation, event_id)
        return await self._callers[running.action].call(webhook_id, body)

    def _left(self, said: Said, memory: Memory, outcome: Outcome) -> Outcome:
        """The outcome with what is remembered, and nothing private in what is kept of the turn."""
        if (open_action := memory.running or memory.offered) is not None:
            minutes = self._settings[open_action.action].expires_minutes
            memory = replace(memory, expires_minutes=minutes)
        turn = outcome.turn
        if turn is not None:
            question, text = (hidden(one, self._slots) for one in (turn.question, turn.text))
            turn = replace(turn, question=question, text=text)
        return replace(outcome, turn=turn, remembered=Remembered(said.customer.id, memory))
