"""Follow-ups as questions of their own: a chat model writes them, rules check what it wrote."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.conversation import HistoryMessage, Language
from kfbot.errors import ChatModelError
from kfbot.grounding.prompting import conversation_text, inert, template
from kfbot.grounding.wording import adds_nothing, holds, repeats
from kfbot.language import language_of
from kfbot.observability import metrics, tracing

logger = logging.getLogger(__name__)

#: The customer waits no longer for it.
REWRITE_SECONDS = 4.0
#: A longer one is no question.
LONGEST = 300
#: Enough for the longest question in either language.
_MAX_TOKENS = 256
_QUOTES = "\"'“”‘’「」『』"
_ASKS = re.compile(
    r"[?？]\s*$"
    r"|^\W*(?:(?:and|but|so|or|also)\b\W*)?(?:how|what|when|where|which|who|whose|why|can|could|do"
    r"|does|did|is|are|was|were|am|will|would|may|should|has|have|had|tell|explain|describe|show"
    r"|list|compare|give|help|please|i (?:want|need|would like))\b"
    r"|\b(?:tell me|say more|i(?: woul|['’])d like|i mean|i meant)\b"
    r"|吗|呢|怎|什么|啥|哪|多少|多久|多长|多大|几|如何|为何|谁|是否|能否|可否|(.)[不没]\1"
    r"|^(?:请|我想|我要|帮|介绍|说说|讲讲)",
    re.IGNORECASE,
)


async def rewritten(
    model: ChatModel,
    question: str,
    history: Sequence[HistoryMessage],
    *,
    language: Language,
    usage: Usage,
    channel: str = "",
) -> str | None:
    """A question that leans on what was said before, as one that stands alone.

    None: the model could not be asked, took longer than 4 s, says that the question stands alone,
    or wrote what is no honest rewriting; see `standalone`. It is asked once.

    Args:
        language: Of the question.
        channel: Whose budget of tokens it counts for.
    """
    prompt = _prompt(question, history, language, model.context_tokens - _MAX_TOKENS)
    pieces = model.complete(
        prompt,
        max_tokens=_MAX_TOKENS,
        usage=usage,
        channel=channel,
        timeout_seconds=REWRITE_SECONDS,
    )
    try:
        with tracing.span("understand"), metrics.stage("understand"):
            text = "".join([piece async for piece in pieces])
    except ChatModelError as error:
        logger.warning("not rewritten: %s", error, extra={"event": "rewriting_failed"})
        return None
    found = standalone(text, question, history)
    if found is None:
        logger.info("rewriting not used", extra={"event": "rewriting_dropped"})
    return found


def standalone(text: str, question: str, history: Sequence[HistoryMessage]) -> str | None:
    """What a model wrote as the question made standalone; None where it must not be searched for.

    It is one line of at most 300 characters that asks something in the question's language. It
    holds what the question says, has no number, name or word that is in neither the question nor
    the history, and is neither the question unchanged nor an earlier one once more.
    """
    line = text.strip().strip(_QUOTES).strip()
    if not line or len(line) > LONGEST or len(line.splitlines()) > 1 or not asks(line):
        return None
    if language_of(line) != language_of(question, language_of(line)):
        return None
    sources = [question, *(message.text for message in history)]
    if not adds_nothing(line, sources) or not holds(line, question):
        return None
    before = [message.text for message in history if message.role == "customer"]
    return None if any(repeats(line, one) for one in (question, *before)) else line


def asks(line: str) -> bool:
    """Whether a line asks something, or for something."""
    return _ASKS.search(line) is not None


def _prompt(
    question: str, history: Sequence[HistoryMessage], language: Language, budget_tokens: int
) -> list[ChatMessage]:
    rules, asked = template("rewrite", language).template, inert(question)
    talk = conversation_text(history, language, budget_tokens, beside=f"{rules}\n{asked}")
    return [ChatMessage("system", rules), ChatMessage("user", f"{talk}\n\n{asked}")]
