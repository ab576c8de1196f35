"""Prompts: files in `prompts/`, filled in; what customers and documents say is never part of
the instructions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

from kfbot.chat_model import ChatMessage, estimated_tokens
from kfbot.conversation import HistoryMessage, Language
from kfbot.grounding.sentences import sentences
from kfbot.knowledge_base import Passage
from kfbot.model_settings import AnswerSettings

#: What the model writes where the passages do not answer.
NO_ANSWER = "NO_ANSWER"
#: Tokens for the lines around what a prompt holds, and for what a chat template adds.
_AROUND = 64
#: Of the whole at most so much is the question, and so much the history.
_SHARE = 0.25
#: Of one message of a conversation so much is read.
_READ_LENGTH = 800
_NAMES = {"en": "the customer service of this company", "zh": "本公司的客服"}
_LENGTHS = {
    "en": {"short": "in one or two sentences", "normal": "briefly", "detailed": "in detail"},
    "zh": {"short": "只用一两句话", "normal": "简明扼要", "detailed": "详细说明"},
}
_CUT = " … "

#: Characters that nobody sees, or that turn the order of others.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
                     "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]")  # fmt: skip
#: Tags and tokens of chat templates begin so: </passages>, <|im_start|>, <<SYS>>, ＜｜User｜＞.
_OPENS_TAG = re.compile(r"[<＜﹤](?=\s*[/\w|｜!<＜﹤?])")
#: A mark of a citation, or a token as [INST]; a link of Markdown is none.
_BRACKETED = re.compile(
    r"[\[［【〔]\s*(\d{1,3}(?:\s*[,，、;–-]\s*\d{1,3})*|/?[A-Z][A-Z_]{2,}|[gs]MASK)\s*[\]］】〕]"
    r"(?!\()"
)
_FORM = re.compile(r"no[_＿]answer", re.IGNORECASE)


@cache
def template(name: str, language: Language) -> Template:
    """The text of `prompts/NAME.LANGUAGE.md`, with places to be filled in."""
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

    The first passage is cut at sentences where it is too long, around the part that answers;
    of a question that is too long its beginning and its end are kept.

    Args:
        language: Of the answer.
        budget_tokens: So many tokens it may have, as `estimated_tokens` counts; the oldest of the
            history goes first, then the last of the passages.
    """
    rules = template("answer", language).substitute(
        name=style.name or _NAMES[language],
        length=_LENGTHS[language][style.length],
        tone=style.tone,
    )
    asked = _shortened(inert(question), int(budget_tokens * _SHARE))
    beside = f"{rules}\n{asked}"
    room = budget_tokens - estimated_tokens(beside) - _AROUND
    shown: list[str] = []
    for number, passage in enumerate(passages, start=1):
        text = _numbered(number, passage, room if not shown else None)
        room -= estimated_tokens(text) + 2
        if room < 0:
            break
        shown.append(text)
    talk = ""
    if history and room > _AROUND:
        budget = min(room, int(budget_tokens * _SHARE))
        talk = conversation_text(history, language, budget, beside="")
    user = "\n\n".join(filter(None, [talk, "<passages>", *shown, "</passages>", asked]))
    return [ChatMessage("system", rules), ChatMessage("user", user)], len(shown)


def conversation_text(
    said: Sequence[HistoryMessage], language: Language, budget_tokens: int, *, beside: str
) -> str:
    """A conversation for a model to read, the newest of it where not all has room.

    Args:
        beside: What else the prompt says.
    """
    names = {"zh": ("客户", "客服"), "en": ("Customer", "Company")}[language]
    room = budget_tokens - estimated_tokens(beside) - _AROUND
    lines: list[str] = []
    for message in reversed(said):
        # On one line: nobody writes the next one in another's name.
        words = " ".join(inert(message.text[:_READ_LENGTH]).split())
        line = f"{names[message.role != 'customer']}: {words}"
        room -= estimated_tokens(line) + 1
        if room < 0:
            break
        lines.insert(0, line)
    return "\n".join(["<conversation>", *lines, "</conversation>"])


def inert(text: str) -> str:
    """A text that cannot end what it stands in, and holds no form that means something to us.

    No tag, no token of a chat template, no mark of a citation, nothing unseen; all else is as it
    was. See `as_it_was`.
    """
    seen = _OPENS_TAG.sub("‹", _UNSEEN.sub("", text))
    return _FORM.sub("no answer", _BRACKETED.sub(r"(\1)", seen))


def as_it_was(text: str) -> str:
    """What a model wrote of inert texts, with the brackets of the originals."""
    return text.replace("‹", "<")


def _numbered(number: int, passage: Passage, room: int | None) -> str:
    """A passage with its number; one that must fit a room is cut."""
    parts = (passage.title, passage.heading)
    name = " › ".join(" ".join(inert(part).split()) for part in parts if part)
    head, text = f"[{number}] {name[:_READ_LENGTH]}\n", inert(passage.text)
    if room is not None and estimated_tokens(head + text) + 2 > room:
        text = _around(text, inert(passage.quote), room - estimated_tokens(head) - 4)
    return head + text


def _around(text: str, quote: str, room: int) -> str:
    """Whole sentences of a text that fit, from the quote on, then those before it."""
    pieces = sentences(text)
    place = max(text.find(quote), 0) if quote else 0
    start, end = 0, 0
    for piece in pieces:
        if end + len(piece) > place:
            break
        start, end = start + 1, end + len(piece)
    kept = pieces[start : start + 1]
    if not kept or estimated_tokens(kept[0]) > room:
        return _shortened(kept[0] if kept else "", room)
    room -= estimated_tokens(kept[0])
    for piece in pieces[start + 1 :]:
        if (room := room - estimated_tokens(piece)) < 0:
            return "".join(kept)
        kept.append(piece)
    for piece in reversed(pieces[:start]):
        if (room := room - estimated_tokens(piece)) < 0:
            break
        kept.insert(0, piece)
    return "".join(kept)


def _shortened(text: str, room: int) -> str:
    """The beginning and the end of a text that is too long."""
    if estimated_tokens(text) <= room:
        return text
    length = len(text)
    while length > 3:
        kept = text[: length * 3 // 4].rstrip() + _CUT + text[-(length // 4) :].lstrip()
        if estimated_tokens(kept) <= room:
            return kept
        length = length * 9 // 10
    return ""
