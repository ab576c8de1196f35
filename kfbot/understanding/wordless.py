"""What is said to messages without words: voice, pictures, places, polls, stickers; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from kfbot.conversation import Conversation, HistoryMessage, Language, Turn
from kfbot.language import last_spoken
from kfbot.messages import MessageReceived
from kfbot.texts import texts
from kfbot.turn import NewButton, Outcome, outcome_of

#: Answers thanks that were said with a sticker.
SMILE = "🙂"
_GLAD = frozenset(
    "👍👌🙏❤♥💕💖💗💙💚💛💜🧡😊🙂😀😁😄😃😆🥰😍😘😉😇🤗🤩😎😂🤣💪🎉🥳👏✌🤝💯✅☺🌹💐🌸🌺🍻⭐🌟✨🫶🤞😺😻"
)
_WAVES = frozenset("👋🙋")
# What only varies an emoji: its form, its skin, who it is joined with.
_VARIATION = re.compile("[\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff\u2640\u2642\\s]")
_SMILEY = re.compile(r"(?:[:;=]-?\)+\s*)+")


def wordless_outcome(
    conversation: Conversation, event: MessageReceived, history: Sequence[HistoryMessage]
) -> Outcome | None:
    """A kind word to a message without words; None where there are some, or nothing to be said."""
    if any(character.isalnum() for character in event.text):
        return None
    spoken = last_spoken(one.text for one in reversed(history) if one.role == "customer")
    # Who has said nothing yet may speak either language.
    languages: tuple[Language, ...] = (spoken,) if spoken else get_args(Language)[::-1]
    if text := _to_emoji(event.text, languages):
        return outcome_of(conversation, _turn(event, text))
    if not event.attachments:
        return None
    text = "\n\n".join(texts(language).only_text for language in languages)
    outcome = outcome_of(conversation, _turn(event, text))
    buttons = tuple(NewButton(texts(language).person, "person") for language in languages)
    return replace(outcome, replies=tuple(replace(one, buttons=buttons) for one in outcome.replies))


def _to_emoji(text: str, languages: Sequence[Language]) -> str:
    """A smile for thanks, a greeting for a wave; "" for anything else."""
    if _SMILEY.fullmatch(text.strip()):
        return SMILE
    shown = set(_VARIATION.sub("", text))
    if not shown or not shown <= _GLAD | _WAVES:
        return ""
    if shown & _GLAD:
        return SMILE
    return "\n\n".join(texts(language).small_talk["greeting"] for language in languages)


def _turn(event: MessageReceived, text: str) -> Turn:
    return Turn(question=event.text, decision="smalltalk", confidence=0.0, text=text)
