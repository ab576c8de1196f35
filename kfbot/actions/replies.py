"""Messages of an action to the customer, with their buttons; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kfbot.actions.memory import Running
from kfbot.actions.values import choices_of
from kfbot.cases.posts import plain
from kfbot.conversation import Choice, Conversation, Language
from kfbot.slot_settings import SlotSettings
from kfbot.texts import action_texts, texts
from kfbot.turn import NewButton, Reply

#: Begins the value of a button that says something for the customer; no knowledge base is so named.
SAYS = "say:"


def question(text: str, slot: SlotSettings, running: Running) -> tuple[Reply, tuple[Choice, ...]]:
    """What asks for a slot, and the choices it offers."""
    choices = choices_of(slot)
    buttons = tuple(_button(one.label, one.label, running) for one in choices)
    return Reply(text=text, buttons=(*buttons, _person(running.language))), choices


def confirmation(text: str, running: Running) -> tuple[Reply, tuple[Choice, ...]]:
    """What asks whether to go ahead."""
    says = action_texts(running.language)
    choices = (Choice("yes", says.yes), Choice("no", says.no))
    buttons = tuple(_button(one.label, one.label, running) for one in choices)
    return Reply(text=text, buttons=(*buttons, _person(running.language))), choices


def is_verdict(choice: Choice) -> bool:
    """True for a choice of `confirmation`."""
    return choice.id in ("yes", "no")


def confirm_text(label: str, values: Sequence[str], language: Language) -> str:
    """The bot's own words for whether to go ahead."""
    says = action_texts(language)
    if not values:
        return says.confirm_plain.format(wish=plain(label))
    joined = ("、" if language == "zh" else ", ").join(values)
    return says.confirm.format(wish=plain(label), values=plain(joined))


def offer(action: str, label: str, language: Language) -> tuple[Reply, tuple[Choice, ...]]:
    """What offers an action that may be meant."""
    says = texts(language)
    button = NewButton(label, "choice", SAYS + json.dumps(["", "", label]))
    nothing = NewButton(says.none_of_these, "person")
    return Reply(text=says.clarify, buttons=(button, nothing)), (Choice(action, label),)


def pressed_words(value: str) -> tuple[str, str, str]:
    """The action's beginning, what it waits for, and the words, of a button's value."""
    began, awaiting, words = json.loads(value.removeprefix(SAYS))
    return began, awaiting, words


def address(conversation: Conversation) -> dict[str, Any]:
    """The conversation as the operator's system knows it again."""
    here = conversation.address
    return {
        "id": conversation.id,
        "channel": here.channel,
        "chat": here.chat,
        "thread": here.thread,
        "member": here.member,
    }


def _button(label: str, words: str, running: Running) -> NewButton:
    return NewButton(label, "choice", SAYS + json.dumps([running.began, running.awaiting, words]))


def _person(language: Language) -> NewButton:
    return NewButton(texts(language).person, "person")
