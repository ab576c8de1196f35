"""A reply that an agent may send: from the knowledge base, by a chat model where there is one."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kfbot.answer import Answering, answer_question, cite
from kfbot.chat_model import Usage
from kfbot.conversation import HistoryMessage, Language, Turn
from kfbot.errors import ChatModelError
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import KnowledgeBase, Scope
from kfbot.language import language_of
from kfbot.learning.lessons import is_question
from kfbot.messages import Citation

logger = logging.getLogger(__name__)

#: An agent waits no longer for a model; then the passage is quoted.
SUGGEST_SECONDS = 15.0
#: An agent reads what is suggested before it is sent: more of it may be wrong. A model still says
#: where the passages do not answer …
_WRONG_PERCENT = 90.0
#: … which nobody does where they are quoted: not what answers less probably than this.
_QUOTED_FROM = 0.3
_MARK = re.compile(r"\s*\[\d{1,2}\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What an agent might reply."""

    #: "" where nothing was found.
    text: str = ""
    #: What says so.
    citations: tuple[Citation, ...] = ()
    #: Who wrote the text: a chat model, or the documents.
    by: Literal["model", "passage", "nobody"] = "nobody"


def open_question(
    said: Sequence[HistoryMessage], question: str
) -> tuple[str, tuple[HistoryMessage, ...]]:
    """What a customer wants to know now, and what was said before it.

    Args:
        said: The conversation, oldest first.
        question: Of the case, for a customer who has asked nothing since it was opened.
    """
    for place in range(len(said) - 1, -1, -1):
        message = said[place]
        if message.role == "customer" and is_question(message.text):
            return message.text, tuple(said[:place])
    return question.rsplit("\n", 1)[-1], ()


async def suggested(
    question: str,
    history: Sequence[HistoryMessage],
    knowledge: KnowledgeBase,
    *,
    scope: Scope,
    writer: Writer | None,
    channel: str = "",
) -> Suggestion:
    """What the knowledge base says to a question, in its language where a model writes it.

    A follow-up is searched for as a model makes it standalone too. Never an exception: where the
    model fails or takes longer than 15 s in all the passage is quoted. An FAQ entry in the
    question's language is quoted always.

    Args:
        scope: What the customer may be answered from.
        channel: Whose budget of tokens it counts for.
    """
    until = asyncio.get_running_loop().time() + SUGGEST_SECONDS
    answering = Answering(knowledge, _WRONG_PERCENT, writer, quotes=True)
    turn = await answer_question(question, answering, history=history, scope=scope, channel=channel)
    if turn.decision != "answer":
        return Suggestion()
    language = language_of(turn.question)
    told = turn.passages[: len(turn.citations)]
    is_faq = all(one.kind == "faq" for one in told) and language_of(turn.text) == language
    if writer is not None and not is_faq:
        try:
            async with asyncio.timeout_at(until):
                return await _written(writer, question, turn, history, language, channel)
        except (ChatModelError, TimeoutError) as error:
            logger.warning("quoted: %s", error, extra={"event": "chat_model_failed"})
    if turn.confidence < _QUOTED_FROM:
        return Suggestion()
    return Suggestion(text=turn.text, citations=turn.citations, by="passage")


async def _written(
    writer: Writer,
    question: str,
    turn: Turn,
    history: Sequence[HistoryMessage],
    language: Language,
    channel: str,
) -> Suggestion:
    usage = Usage()
    written = await writer.write(
        question,
        turn.passages,
        language=language,
        usage=usage,
        history=history,
        channel=channel,
    )
    logger.info("reply suggested", extra={"event": "reply_suggested", "usage": usage.as_data()})
    if written is None:
        return Suggestion()
    cited = tuple(cite(one, turn.confidence, language) for one in written.passages)
    # An agent's message has no list of sources that a number could point to.
    return Suggestion(text=_MARK.sub("", written.text), citations=cited, by="model")
