"""Entries that admins add to a knowledge base from the chat, and take back."""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from kfbot.errors import EntryRejected, KnowledgeBaseUnavailable
from kfbot.knowledge_base import Entry, KnowledgeBase, Scope
from kfbot.texts import CommandTexts

logger = logging.getLogger(__name__)

#: In characters.
LONGEST_QUESTION = 500
LONGEST_ANSWER = 4000

# Whoever writes Chinese has the full-width forms on the keyboard.
_BAR = re.compile(r"[|｜]")
# "1.5 m" is not "15 m", nor "C++" "C#".
_TELLS_APART = re.compile(r"[^\W_]+|(?<=\d)[.,:/-](?=\d)|(?<!\w)-(?=\d)|[+<>=#%&@$€£¥]")
_BETWEEN_VARIANTS = re.compile(r"\s+/\s+|\s*／\s*")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an admin wants stored, as it was written."""

    #: "": the admin named none.
    knowledge_base: str
    questions: tuple[str, ...]
    answer: str


async def add(
    knowledge: KnowledgeBase, scope: Scope, written: str, says: CommandTexts
) -> tuple[str, str]:
    """Store what stands behind `/kb add`; the same question again replaces its answer.

    Returns:
        What to tell the admin, and what was stored, as "knowledge base/id"; "": nothing was.

    Raises:
        StoreUnavailable: Nothing was changed; try again.
    """
    names = await _names(knowledge, scope)
    asked = read(written, names)
    name = asked.knowledge_base or (names[0] if len(names) == 1 else "")
    if fault := _fault(asked, name, names, says):
        return fault, ""
    first, *variants = asked.questions
    entry = Entry(id=entry_id(first), question=first, answer=asked.answer, variants=tuple(variants))
    try:
        known = {one.id for one in await knowledge.added(name)}
        await knowledge.add_entry(name, entry, source="chat")
        stored = {one.id: one for one in await knowledge.added(name)}.get(entry.id, entry)
    except EntryRejected as error:
        return says.add_rejected.format(reason=error), ""
    except KnowledgeBaseUnavailable as error:
        return says.change_fails.format(reason=error), ""
    told = says.add_replaced if entry.id in known else says.add_done
    shown = "\n> ".join((stored.question, *stored.variants))
    return (
        told.format(name=name, question=shown, answer=stored.answer, id=entry.id),
        f"{name}/{entry.id}",
    )


async def remove(
    knowledge: KnowledgeBase, scope: Scope, written: str, says: CommandTexts
) -> tuple[str, str]:
    """Take back the entry whose id stands behind `/kb remove`; returns as `add` does.

    Raises:
        StoreUnavailable: Nothing was changed; try again.
    """
    if not written:
        return says.remove_usage, ""
    try:
        for name in await _names(knowledge, scope):
            if await knowledge.remove_entry(name, written):
                return says.remove_done.format(name=name, id=written), f"{name}/{written}"
    except KnowledgeBaseUnavailable as error:
        return says.change_fails.format(reason=error), ""
    return says.remove_unknown.format(id=written), ""


def read(written: str, names: Sequence[str]) -> Asked:
    """What "NAME: QUESTION / ANOTHER WAY TO ASK | ANSWER" says, as far as it is there.

    Only what is the name of a knowledge base stands for one: other colons are the question's.
    """
    asked, *answer = _BAR.split(written, maxsplit=1)
    # Names may have spaces and colons in them.
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    named = re.fullmatch(rf"\s*({known})\s*[:：](.*)", asked, re.DOTALL) if known else None
    name = "" if named is None else named[1]
    asked = asked if named is None else named[2]
    questions = (" ".join(one.split()) for one in _BETWEEN_VARIANTS.split(asked))
    return Asked(name, tuple(one for one in questions if one), "".join(answer).strip())


def entry_id(question: str) -> str:
    """The same for a question however it is written: layout, case and punctuation do not count."""
    meant = "".join(_TELLS_APART.findall(unicodedata.normalize("NFKC", question).casefold()))
    return f"chat-{hashlib.sha256(meant.encode()).hexdigest()[:10]}"


async def _names(knowledge: KnowledgeBase, scope: Scope) -> list[str]:
    """The knowledge bases that the channel's customers are answered from."""
    known = [one.name for one in await knowledge.status()]
    return [name for name in known if scope.names is None or name in scope.names]


def _fault(asked: Asked, name: str, names: Sequence[str], says: CommandTexts) -> str:
    """Why it cannot be stored, and what to write instead; "": it can."""
    if not names:
        return says.status_empty
    if not asked.questions or not asked.answer or not _says_something(asked):
        return says.add_usage
    if not name:
        return says.add_which.format(name=names[0], names=", ".join(names))
    for text, most in (*((one, LONGEST_QUESTION) for one in asked.questions),
                       (asked.answer, LONGEST_ANSWER)):  # fmt: skip
        if len(text) > most:
            return says.add_too_long.format(length=len(text), most=most)
    return ""


def _says_something(asked: Asked) -> bool:
    return all(re.search(r"[^\W_]", text) for text in (*asked.questions, asked.answer))
