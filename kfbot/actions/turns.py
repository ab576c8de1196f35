"""What an action says to the customer and tells the agents, as turns; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from kfbot.actions import replies
from kfbot.actions.answers import FieldMissing, Filled, filled_with
from kfbot.actions.calling import Came
from kfbot.actions.memory import Running
from kfbot.actions.settings import ActionSettings
from kfbot.actions.slot_settings import SlotSettings
from kfbot.conversation import Choice, Decision, Language, Turn
from kfbot.language import language_of
from kfbot.templates import HIDDEN, hidden
from kfbot.texts import action_texts


class ActionTurns:
    """Makes the turns of the actions of the settings."""

    def __init__(
        self, settings: Mapping[str, ActionSettings], slots: Mapping[str, SlotSettings]
    ) -> None:
        self._settings = settings
        self._slots = slots

    def slots_of(self, action: str) -> dict[str, SlotSettings]:
        """What an action needs, in the order in which it is asked for."""
        return {name: self._slots[name] for name in self._settings[action].slots}

    def turn(self, text: str, decision: Decision, says: str) -> Turn:
        """A turn in which the bot says something of its own."""
        return Turn(question=" ".join(text.split()), decision=decision, confidence=0.0, text=says)

    def confirm_text(self, running: Running) -> str:
        """What asks whether to go ahead."""
        template = self._settings[running.action].text("confirm", running.language)
        if template:
            return filled_with(template, None, running.values).text
        label = self.label(running.action, running.language)
        return replies.confirm_text(label, self._shown(running), running.language)

    def offered(self, turn: Turn, running: Running) -> Turn:
        """A turn that found nothing, as one that asks whether an action is meant."""
        label = self.label(running.action, running.language)
        text = replies.offer_text(label, self.told(running), running.language)
        told = {"name": running.action, "slots": self._known(running), "by": running.by}
        return replace(
            turn,
            decision="clarify",
            reason=None,
            text=text,
            choices=(Choice(running.action, label),),
            usage={**turn.usage, "offered": told},
        )

    def told(self, running: Running) -> list[str]:
        """The values that are known and nobody's secret, as customers read them."""
        public = {name: one for name, one in running.values.items() if not self._is_private(name)}
        return self._shown(replace(running, values=public))

    def label(self, action: str, language: Language) -> str:
        """What an action is called where it is offered: its first phrase in a language."""
        phrases = self._settings[action].phrases
        return next((one for one in phrases if language_of(one) == language), phrases[0])

    def came_to(self, text: str, running: Running, came: Came) -> Turn:
        """The turn that a call leads to: the answer, or a handoff with what came of it."""
        turn = self._judged(text, running, came)
        spent = round(came.milliseconds, 2)
        return replace(turn, timings_ms={"action": spent, "total": spent})

    def _judged(self, text: str, running: Running, came: Came) -> Turn:
        try:
            filled = self._filled(running, came)
        except FieldMissing as error:
            return self.handed_off(
                text, running, "action_failed", "lacking", came.status, field=str(error)
            )
        if filled is None:
            return self.handed_off(text, running, "action_failed", came.kind, came.status)
        return Turn(
            question=" ".join(text.split()),
            decision="answer",
            # No passage was judged: the system itself says so.
            confidence=1.0,
            text=filled.text,
            context=self.account(running, came.kind),
            usage=self._usage(running, came.kind, came.status, filled.fields),
        )

    def handed_off(
        self,
        text: str,
        running: Running,
        reason: Literal["action_failed", "action_stuck"],
        came: str,
        status: int | None = None,
        field: str = "",
    ) -> Turn:
        """The turn that gets a person, who reads what was to be done."""
        says = action_texts(running.language)
        own = self._settings[running.action].text("failure", running.language)
        if reason == "action_stuck":
            # Its own words may name a slot, and here one is missing.
            words = says.stuck
        else:
            words = filled_with(own, None, running.values).text if own else says.failure
        return Turn(
            question=" ".join(text.split()),
            decision="handoff",
            confidence=0.0,
            text=words,
            reason=reason,
            context=self.account(running, came, status, field),
            usage=self._usage(running, came, status, {}),
        )

    def account(
        self, running: Running, came: str, status: int | None = None, field: str = ""
    ) -> str:
        """For agents: what was to be done, with what, and what came of it."""
        says = action_texts(running.language)
        slots = ", ".join(f"{name}: {value}" for name, value in self._known(running).items())
        told = says.came[came].format(status=status, field=field)
        return says.account.format(action=running.action, slots=slots or "–", came=told)

    def with_account(self, turn: Turn, running: Running, came: str) -> Turn:
        """A turn whose context begins with an account for agents."""
        context = "\n\n".join(filter(None, [self.account(running, came), turn.context]))
        return replace(turn, context=context)

    def _filled(self, running: Running, came: Came) -> Filled | None:
        """None: it came to neither an answer nor to nothing found."""
        kinds = {"answered": "answer", "empty": "empty"}
        if came.kind not in kinds:
            return None
        template = self._settings[running.action].text(kinds[came.kind], running.language)
        return filled_with(template, came.answer, running.values)

    def _shown(self, running: Running) -> list[str]:
        slots = self.slots_of(running.action)
        known = [(name, running.values[name]) for name in slots if name in running.values]
        return [slots[name].choices.get(value, value) for name, value in known]

    def _is_private(self, slot: str) -> bool:
        return self._slots[slot].private

    def _known(self, running: Running) -> dict[str, str]:
        slots = self.slots_of(running.action)
        known = {name: running.values[name] for name in slots if name in running.values}
        return {name: HIDDEN if slots[name].private else one for name, one in known.items()}

    def _usage(
        self, running: Running, came: str, status: int | None, fields: Mapping[str, str]
    ) -> dict[str, Any]:
        """What `/why` tells of it."""
        shown = {name: hidden(value, self._slots) for name, value in fields.items()}
        action = {"name": running.action, "slots": self._known(running), "came": came}
        return {"action": {**action, "by": running.by, "status": status, "fields": shown}}
