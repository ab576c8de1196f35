"""Leads a customer through an action: begins it, asks for what is missing, calls, and answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kfbot.action_settings import ActionSettings
from kfbot.actions import replies
from kfbot.actions.calling import ActionCaller
from kfbot.actions.memory import Memory, Remembered, Running
from kfbot.actions.phrases import Phrases, Wish, says_nothing_more, without
from kfbot.actions.said import Said, ends, language_in, lately
from kfbot.actions.turns import ActionTurns
from kfbot.actions.values import chosen_value, find_values
from kfbot.conversation import (
    Choice,
    Conversation,
    HistoryMessage,
    Turn,
    bot_may_speak,
)
from kfbot.handoff.escalation import Escalation
from kfbot.language import language_of
from kfbot.slot_settings import SlotSettings
from kfbot.store.action_memory import ActionMemory
from kfbot.templates import hidden
from kfbot.texts import action_texts, means, small_talk, wants_person
from kfbot.turn import Outcome, Reply, outcome_of
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
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._store = store
        self._escalation = escalation
        self._clock = clock
        self._phrases = Phrases(settings)
        self._turns = ActionTurns(settings, slots)
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

        if began and (running is None or (running.began, running.awaiting) != (began, awaiting)):
            return expired
        return await self.respond(replace(said, text=text), usual)

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
        request = {"action": wish.action, "conversation": None, "customer": None}
        came = await self._callers[wish.action].call(
            self._id(running, None, secrets.token_hex(16)), self._body(request, running)
        )
        return self._turns.came_to(text, running, came)

    async def _begun(self, said: Said, memory: Memory, usual: Usual) -> Outcome:
        text = said.text
        wish = self._phrases.find(text, self._values) or self._again(said, memory)
        if wish is None:
            return self._told_of(memory, self._offered(said, await usual(text)))
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
        outcome = await self._advanced(said, running, memory)
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
            return self._left(said, replace(memory, running=None), outcome_of_turn(said, turn))
        if missing is not None or self._settings[running.action].confirm:
            return self._asked(said, replace(running, awaiting=missing or ""), memory)
        return await self._carried_out(said, running, memory)

    def _asked(self, said: Said, running: Running, memory: Memory, wrong: str = "") -> Outcome:
        reply, choices = self._question(running)
        text = f"{wrong} {reply.text}" if wrong else reply.text
        turn = replace(self._turns.turn(said.text, "clarify", text), choices=choices)
        outcome = replace(outcome_of_turn(said, turn), replies=(replace(reply, text=text),))
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
            return self._left(said, replace(memory, running=None), outcome_of_turn(said, turn))
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
        return self._left(said, Memory(), outcome_of_turn(said, turn))

    def _beside(self, said: Said, memory: Memory, running: Running, outcome: Outcome) -> Outcome:
        """What another question led to; the action goes on, unless a person is got."""
        turn = outcome.turn
        if turn is None:
            return outcome
        if outcome.case_reason is not None:
            account = self._turns.account(running, "unfinished")
            return self._left(said, Memory(), _with_account(outcome, account))
        if turn.decision == "answer":
            reply, _ = self._question(running)
            outcome = replace(outcome, replies=(*outcome.replies, reply))
        return self._left(said, memory, outcome)

    def _told_of(self, memory: Memory, outcome: Outcome) -> Outcome:
        """What agents read of the action before it, where a person is got."""
        if outcome.case_reason is None or memory.last not in self._settings:
            return outcome
        slots = self._turns.slots_of(memory.last)
        values = {name: value for name, value in memory.given.items() if name in slots}
        language = language_of(outcome.turn.text) if outcome.turn else "en"
        done = Running(action=memory.last, began="", language=language, values=values)
        return _with_account(outcome, self._turns.account(done, memory.came))

    def _offered(self, said: Said, outcome: Outcome) -> Outcome:
        """Where nothing was found: the action that the customer may have meant."""
        turn = outcome.turn
        is_unsure = turn is not None and turn.reason == "unsure" and not turn.citations
        name = self._phrases.near(said.text) if is_unsure else None
        if turn is None or name is None:
            return outcome
        language = language_in(said.text, said.context.history)
        offer, choices = replies.offer(name, self._turns.label(name, language), language)
        turn = replace(turn, decision="clarify", reason=None, text=offer.text, choices=choices)
        return replace(outcome_of_turn(said, turn), replies=(offer,))

    async def _carried_out(self, said: Said, running: Running, memory: Memory) -> Outcome:
        request = {
            "action": running.action,
            "conversation": replies.address(said.conversation),
            "customer": {"id": said.customer.id, "name": said.customer.display_name},
        }
        came = await self._callers[running.action].call(
            self._id(running, said.conversation, said.event_id), self._body(request, running)
        )
        turn = self._turns.came_to(said.text, running, came)
        given = {**memory.given, **running.values}
        memory = Memory()
        if turn.reason is None:
            memory = Memory(given=given, last=running.action, came=came.kind)
        minutes = self._settings[running.action].expires_minutes
        outcome = outcome_of_turn(said, turn)
        return self._left(said, replace(memory, expires_minutes=minutes), outcome)

    def _id(self, running: Running, conversation: Conversation | None, event_id: str) -> str:
        """The same for a turn that is taken again after a crash; tells nothing of the values."""
        settings = self._settings[running.action]
        channel = conversation.address.channel if conversation else ""
        parts = [running.action, channel, event_id, sorted(running.values.items())]
        made = json.dumps(parts).encode()
        key = settings.secret.get_secret_value().encode()
        return f"action_{hmac.new(key, made, hashlib.sha256).hexdigest()[:32]}"

    def _body(self, request: Mapping[str, Any], running: Running) -> dict[str, Any]:
        return {**request, "language": running.language, "slots": dict(running.values)}

    def _left(self, said: Said, memory: Memory, outcome: Outcome) -> Outcome:
        """The outcome with what is remembered, and nothing private in what is kept of the turn."""
        if memory.running is not None:
            minutes = self._settings[memory.running.action].expires_minutes
            memory = replace(memory, expires_minutes=minutes)
        turn = outcome.turn
        if turn is not None:
            question, text = (hidden(one, self._slots) for one in (turn.question, turn.text))
            turn = replace(turn, question=question, text=text)
        return replace(outcome, turn=turn, remembered=Remembered(said.customer.id, memory))


def _with_account(outcome: Outcome, account: str) -> Outcome:
    if (turn := outcome.turn) is None:
        return outcome
    context = "\n\n".join(part for part in (account, turn.context) if part)
    return replace(outcome, turn=replace(turn, context=context))


def outcome_of_turn(said: Said, turn: Turn) -> Outcome:
    """What a turn of an action changes."""
    return outcome_of(said.conversation, turn)
