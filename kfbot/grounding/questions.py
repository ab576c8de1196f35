"""Questions that customers would ask and a passage answers: a chat model writes, rules check."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.conversation import Language
from kfbot.grounding.prompting import inert, template
from kfbot.grounding.rewriting import asks
from kfbot.grounding.statements import Statement, Token, statement
from kfbot.grounding.wording import repeats
from kfbot.language import language_of

logger = logging.getLogger(__name__)

#: Nobody waits for them but a load.
QUESTIONS_SECONDS = 60.0
#: A longer one is none that customers ask.
LONGEST = 200
_SHORTEST = 4
#: Of what a question states, so much must stand in the passage: customers use other words. Of
#: real questions .77 (COVID FAQ) to .97 (CMRC) pass with their passage, .01 to .20 with another.
_SUPPORTED = 1 / 3
#: Of one question.
_MAX_TOKENS = 64
_NUMBER = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)、）:：]|[Qq问]\d*[.:：])\s*")
#: Asks, and states nothing.
_ASKING = re.compile("多[少久长大远]|几|为何|[是能可]否|有没有|是不是|能不能|可不可以")
_QUOTES = "\"'“”‘’「」『』*"


async def questions_for(model: ChatModel, place: str, text: str, count: int) -> tuple[str, ...]:
    """Questions that a passage answers, in its language, at most `count`; none that fails a check.

    What is spent counts for the budget of all channels together.

    Args:
        place: Title and heading; what these name need not stand in the passage.

    Raises:
        ChatModelUnavailable: There is no completion, or not all of it.
        CompletionInvalid: What came is no completion.
    """
    usage, language = Usage(), language_of(text)
    told = f"{inert(place)}\n\n<passage>\n{inert(text)}\n</passage>".strip()
    rules = template("questions", language).substitute(count=count)
    pieces = model.complete(
        [ChatMessage("system", rules), ChatMessage("user", told)],
        max_tokens=_MAX_TOKENS * count,
        usage=usage,
        timeout_seconds=QUESTIONS_SECONDS,
    )
    written = "".join([piece async for piece in pieces])
    found = checked(written.splitlines(), place, text, language)[:count]
    extra = {"event": "questions_written", "usage": usage.as_data()}
    logger.debug("%d questions written", len(found), extra=extra)
    return found


def checked(lines: Sequence[str], place: str, text: str, language: Language) -> tuple[str, ...]:
    """The lines that are questions of their own, about what a passage says.

    A question is in the language of the passage, no copy of a part of it, has no name or number
    that is neither there nor in its place, and shares at least a third of what it states with them.
    """
    known, copied = statement(f"{place}\n{text}"), _plain(text)
    kept: list[str] = []
    for line in lines:
        one = _NUMBER.sub("", line).strip().strip(_QUOTES).strip()
        if not _SHORTEST <= len(one) <= LONGEST or not asks(one) or _plain(one) in copied:
            continue
        about = statement(_ASKING.sub("", one))
        if language_of(one, language) != language or not _is_about(about, known):
            continue
        if not any(repeats(one, other) for other in kept):
            kept.append(one)
    return tuple(kept)


def _plain(text: str) -> str:
    return "".join(one for one in text.casefold() if one.isalnum())


def _is_about(asked: Statement, known: Statement) -> bool:
    """Whether a passage knows what is named, and enough of the rest."""
    in_chinese = language_of(asked.text) == "zh"
    stated = [token for token in asked.tokens if token.is_content]
    held = [token for token in stated if _is_known(token, known)]
    named = (
        token.kind in ("quantity", "name", "code") or (in_chinese and token.kind == "word")
        for token in stated
        if token not in held
    )
    return bool(held) and not any(named) and len(held) >= _SUPPORTED * len(stated)


def _is_known(token: Token, known: Statement) -> bool:
    return token.norm in (known.han if token.kind == "han" else known.index)
