"""Which action a message asks for in words of its own: a chat model proposes, rules check."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kfbot.actions.memory import Running
from kfbot.actions.phrases import Phrases
from kfbot.actions.said import ends, language_in
from kfbot.actions.settings import ActionSettings
from kfbot.actions.slot_settings import SlotSettings
from kfbot.actions.values import find_values
from kfbot.chat_model import ChatMessage, ChatModel, Usage, estimated_tokens
from kfbot.conversation import HistoryMessage, Language, Turn
from kfbot.errors import ChatModelError
from kfbot.grounding.prompting import conversation_text, inert, template
from kfbot.language import language_of
from kfbot.observability import tracing
from kfbot.templates import READ_LENGTH, hidden
from kfbot.texts import means

logger = logging.getLogger(__name__)

#: Of a turn that got a person because nothing answers.
_FOUND_NOTHING = ("unsure", "model_refused")
#: The customer waits no longer for it.
PROPOSE_SECONDS = 4.0
#: Enough for the name of an action and eight values.
_MAX_TOKENS = 256
#: A model that writes more than this writes something else.
LONGEST = 2000
#: For the conversation, at most; what is wanted stands in the last message.
_TALK_TOKENS = 600
#: For what a chat template adds.
_AROUND = 64
#: Phrases of each action that are shown; the next where these have no room.
_PHRASES = (8, 3, 1)
# Many models put all JSON into one, asked for or not.
# Blanks are never given back: each way to share them out among three would be tried.
_FENCED = re.compile(r"```(?:json)?\s*+(.*?)\s*+```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Proposal:
    """An action that a message may ask for. Nobody has checked the values."""

    action: str
    #: What stands in the message, says the model, by slot.
    told: Mapping[str, str] = field(default_factory=dict)


class Proposing:
    """Finds the action that a customer may have meant, where nothing else was found."""

    def __init__(
        self,
        model: ChatModel | None,
        settings: Mapping[str, ActionSettings],
        slots: Mapping[str, SlotSettings],
        phrases: Phrases,
    ) -> None:
        """None as the model: the words of the phrases alone tell."""
        self._model = model
        self._settings = settings
        self._by_model = {name: one for name, one in settings.items() if one.by_model}
        self._slots = slots
        self._phrases = phrases

    async def meant(
        self,
        turn: Turn,
        text: str,
        history: Sequence[HistoryMessage],
        *,
        channel: str,
        event_id: str = "",
        asks_model: bool = True,
    ) -> tuple[Turn, Running | None]:
        """The action to be offered, with the values in the message; None: no action is meant.

        The turn counts what a model took.

        Args:
            turn: What the documents made of the message: nothing.
            history: What was said before the message, oldest first.
            channel: Whose budget of tokens it counts for.
            asks_model: False: only the words of the phrases tell.
        """
        by: Literal["words", "model"] = "words"
        near = self._phrases.near(text)
        proposal = Proposal(near) if near is not None else None
        if proposal is None and asks_model:
            by, usage, started = "model", Usage(), time.perf_counter()
            proposal = await self._propose(text, history, usage=usage, channel=channel)
            turn = _counted(turn, usage, (time.perf_counter() - started) * 1000)
        if proposal is None:
            return turn, None
        slots = {name: self._slots[name] for name in self._settings[proposal.action].slots}
        return turn, Running(
            action=proposal.action,
            began=event_id,
            language=language_in(text, history),
            values=find_values(text, slots, told=proposal.told),
            by=by,
        )

    async def _propose(
        self, text: str, history: Sequence[HistoryMessage], *, usage: Usage, channel: str
    ) -> Proposal | None:
        """The one action that a message asks for, says the model, which is asked once.

        None: it says that there is none, there is no model, or no action that it may propose; it
        failed, took longer than 4 s, or wrote anything but the JSON that it was told to write.
        Private values are hidden from it.

        Args:
            history: What was said before the message, oldest first.
            usage: What it took is added to this.
            channel: Whose budget of tokens it counts for.
        """
        shown = hidden(text, self._slots)[:READ_LENGTH]
        if self._model is None or not self._by_model or not _has_words(shown):
            return None
        prompt = self._prompt(shown, history, self._model.context_tokens - _MAX_TOKENS)
        if prompt is None:
            _failed("actions and message have no room in context_tokens")
            return None
        try:
            with tracing.span("propose"):
                written = await _completed(self._model, prompt, usage, channel)
        except ChatModelError as error:
            _failed(str(error))
            return None
        found = proposed(written)
        if found is not None and found.action not in self._by_model:
            found = None
        name = found.action if found else "none"
        logger.info("action proposed: %s", name, extra={"event": "action_proposed"})
        return found

    def _prompt(
        self, shown: str, history: Sequence[HistoryMessage], budget_tokens: int
    ) -> list[ChatMessage] | None:
        """None: there is no room for all actions and the message."""
        language = language_of(shown)
        rules = template("action", language).template
        asked = f"<message>\n{inert(shown)}\n</message>"
        for phrases in _PHRASES:
            lines = [self._line(name, language, phrases) for name in self._by_model]
            listed = "\n".join(["<actions>", *lines, "</actions>"])
            beside = f"{rules}\n{listed}\n{asked}"
            if (room := budget_tokens - estimated_tokens(beside) - _AROUND) > 0:
                said = [HistoryMessage(one.role, hidden(one.text, self._slots)) for one in history]
                talk = conversation_text(said, language, min(room, _TALK_TOKENS), beside="")
                user = "\n\n".join([listed, talk, asked] if said else [listed, asked])
                return [ChatMessage("system", rules), ChatMessage("user", user)]
        return None

    def _line(self, name: str, language: Language, phrases: int) -> str:
        action = self._by_model[name]
        own_first = sorted(action.phrases, key=lambda one: language_of(one) != language)
        slots = {one: self._slots[one] for one in action.slots}
        told = {
            "action": name,
            "wanted": [inert(one) for one in own_first[:phrases]],
            "slots": {
                one: list(slot.choices) or inert(slot.asks(language))
                for one, slot in slots.items()
                if not slot.private
            },
        }
        return json.dumps(told, ensure_ascii=False)


def found_nothing(turn: Turn) -> bool:
    """True where a person is got because the documents have no answer to any of the message."""
    return turn.reason in _FOUND_NOTHING and not turn.citations


def _counted(turn: Turn, usage: Usage, milliseconds: float) -> Turn:
    """A turn with what a model took of it; as it was, where none was asked."""
    if not usage.requests:
        return turn
    total = turn.timings_ms.get("total", 0.0) + milliseconds
    spent = {"propose": round(milliseconds, 2), "total": round(total, 2)}
    timings = {**turn.timings_ms, **spent}
    return replace(turn, usage=usage.added_to(turn.usage), timings_ms=timings)


def proposed(written: str) -> Proposal | None:
    """The proposal that a model wrote; None: that there is none, or what has another form.

    The form is one JSON object, perhaps in a fence of Markdown, with nothing around it: "action"
    is a text, "slots" may be missing or an object of texts, whole numbers and nulls.
    """
    fenced = _FENCED.fullmatch(written.strip())
    try:
        told = json.loads(fenced[1] if fenced else written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not told.keys() <= {"action", "slots"}:
        return None
    action, slots = told.get("action"), told.get("slots") or {}
    if not isinstance(action, str) or not isinstance(slots, dict):
        return None
    if not all(_is_value(value) for value in slots.values()):
        return None
    return Proposal(action, {name: str(one) for name, one in slots.items() if one is not None})


def _failed(why: str) -> None:
    logger.warning("no action proposed: %s", why, extra={"event": "action_proposal_failed"})


def _has_words(text: str) -> bool:
    """False for what no action can be read from: signs, and a bare yes or no."""
    return any(map(str.isalnum, text)) and not (means("means_yes", text) or ends(text))


def _is_value(value: Any) -> bool:
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


async def _completed(
    model: ChatModel, prompt: Sequence[ChatMessage], usage: Usage, channel: str
) -> str:
    """What the model writes; no more is read once it is too long to be of any form."""
    pieces = model.complete(
        prompt, max_tokens=_MAX_TOKENS, usage=usage, channel=channel,
        timeout_seconds=PROPOSE_SECONDS,
    )  # fmt: skip
    text = ""
    try:
        async for piece in pieces:
            text += piece
            if len(text) > LONGEST:
                return ""
    finally:
        # The place at the endpoint is free at once.
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
    return text
