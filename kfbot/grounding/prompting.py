"""Prompts: files in `prompts/`, filled in; what customers and documents say is never part of
the instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

from kfbot.chat_model import ChatMessage, estimated_tokens
from kfbot.conversation import HistoryMessage, Language
from kfbot.knowledge_base import Passage
from kfbot.model_settings import AnswerSettings

#: What the model writes where the passages do not answer.
NO_ANSWER = "NO_ANSWER"
_NAMES = {"en": "the customer service of this company", "zh": "本公司的客服"}
_LENGTHS = {
    "en": {"short": "in one or two sentences", "normal": "briefly", "detailed": "in detail"},
    "zh": {"short": "只用一两句话", "normal": "简明扼要", "detailed": "详细说明"},
}


@cache
def _template(name: str, language: Language) -> Template:
    return Template(files(__package__).joinpath(f"prompts/{name}.{language}.md").read_text("utf-8"))


def answer_prompt(
    question: str,
    passages: Sequence[Passage],
    *,
    history: Sequence[HistoryMessage],
    language: Language,
    style: AnswerSettings,
    budget_tokens: int,
) -> tuple[list[ChatMessage], int]:
    """The prompt for a grounded answer, and how many of the passages, the best, it holds.

    Args:
        language: Of the answer.
        budget_tokens: So many tokens it may have; the oldest of the history goes first, then the
            last of the passages.
    """
    rules = _template("answer", language).substitute(
        name=style.name or _NAMES[language],
        length=_LENGTHS[language][style.length],
        tone=style.tone,
    )
    room = budget_tokens - estimated_tokens(rules) - estimated_tokens(question) - 64
    shown: list[str] = []
    for number, passage in enumerate(passages, start=1):
        text = f"[{number}] {_inert(passage.title)}\n{_inert(passage.text)}"
        room -= estimated_tokens(text)
        if shown and room < 0:
            break
        shown.append(text)
    talk: list[ChatMessage] = []
    for message in reversed(history):
        room -= estimated_tokens(message.text) + 8
        if room < 0:
            break
        role = "user" if message.role == "customer" else "assistant"
        talk.insert(0, ChatMessage(role, message.text))  # type: ignore[arg-type]
    asked = "\n\n".join(["<passages>", *shown, "</passages>", _inert(question)])
    return [ChatMessage("system", rules), *talk, ChatMessage("user", asked)], len(shown)


def _inert(text: str) -> str:
    """A text that cannot end the passages."""
    return text.replace("<", "‹").replace(">", "›")
