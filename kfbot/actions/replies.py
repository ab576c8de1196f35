"""Messages of an action to the customer, with their buttons; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kfbot.actions.memory import Running
from kfbot.actions.slot_settings import SlotSettings
from kfbot.actions.values import choices_of
from kfbot.conversation import Choice, Language
from kfbot.markup import plain
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
    return says.confirm.format(wish=plain(label), values=_joined(values, language))


def offer(text: str, offered: Running, label: str) -> Reply:
    """What offers an action that may be meant, under a label."""
    # What it waits for is the place of an offer's own event: see `pressed_words`.
    button = NewButton(label, "choice", SAYS + json.dumps(["", offered.began, label]))
    nothing = NewButton(texts(offered.language).none_of_these, "person")
    return Reply(text=text, buttons=(button, nothing))


def offer_text(label: str, values: Sequence[str], language: Language) -> str:
    """The bot's words for whether an action is meant."""
    says = action_texts(language)
    if not values:
        return says.offer_plain.format(wish=plain(label))
    return says.offer.format(wish=plain(label), values=_joined(values, language))


def pressed_words(value: str) -> tuple[str, str, str]:
    """The action's beginning, what it waits for, and the words, of a button's value.

    An offer has begun nothing: the first is "", and the second the event that it was made for.
    """
    began, awaiting, words = json.loads(value.removeprefix(SAYS))
    return began, awaiting, words


def _button(label: str, words: str, running: Running) -> NewButton:
    return NewButton(label, "choice", SAYS + json.dumps([running.began, running.awaiting, words]))


def _joined(values: Sequence[str], language: Language) -> str:
    return plain(("、" if language == "zh" else ", ").join(values))


def _person(language: Language) -> NewButton:
    return NewButton(texts(language).person, "person")
