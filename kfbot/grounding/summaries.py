"""What a conversation is about, for the agent who takes it over: by a chat model, every sentence
checked against what was said; or the customer's own questions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.conversation import HistoryMessage, Language
from kfbot.grounding.prompting import conversation_text, template
from kfbot.grounding.sentences import SentenceStream
from kfbot.grounding.support import check
from kfbot.learning.lessons import is_question, one_line

#: A model may take so long.
SUMMARY_SECONDS = 30.0
#: Sentences that are kept, and questions that are shown.
SENTENCES, QUESTIONS = 4, 5
#: One message that is no longer sums itself up.
SHORT = 200
_MAX_TOKENS = 320
#: Who says what follows: "The customer asks whether", "机器人已答复".
_FRAME = re.compile(
    r"(?:the |this )?(?:(?P<customer>customer|client|user)|bot|agent|company|service)(?:['’]s)?\b"
    r"(?:\s+(?:also|then|now|has|had|already|is|was|asks?|asked|asking|wants?|wanted|needs?|needed"
    r"|says?|said|writes?|wrote|tells|told (?:them|him|her)|reports?|reported|mentions?|mentioned"
    r"|explains?|explained|answers?|answered|replies|replied|offers?|offered|wishes|would like"
    r"|to know|know|that|whether|if|about)\b)*\s*[:,]?\s*"
    r"|该?(?:(?P<kehu>客户|用户|顾客)|(?:聊天)?机器人|(?:人工)?客服|公司)"
    r"(?:已经|已|还|又|目前|现在|希望|想要|想|要|询问|咨询|问|表示|反映|说|称|提到|回答|答复|回复|告知|说明"
    r"|解释|知道|了)*[，：,:]?\s*",
    re.IGNORECASE,
)


def needs_summary(said: Sequence[HistoryMessage]) -> bool:
    """True where a customer has said more than is read at a glance."""
    asked = _questions(said)
    return len(asked) > 1 or sum(map(len, asked)) > SHORT


def questions_of(said: Sequence[HistoryMessage]) -> tuple[str, ...]:
    """The customer's last questions, oldest first, each once and in one line: no model's words."""
    return tuple(dict.fromkeys(_questions(said)))[-QUESTIONS:]


async def summarised(
    model: ChatModel,
    said: Sequence[HistoryMessage],
    *,
    language: Language,
    usage: Usage,
    channel: str = "",
) -> str:
    """What a model says that a conversation is about; "" where nothing of it is in there.

    Sentences that say what was not said are left out. Of a conversation in another language
    numbers and names are compared, not words.

    Args:
        language: Of the summary.
        channel: Whose budget of tokens it counts for.

    Raises:
        ChatModelUnavailable: There is no summary, or not all of it.
        CompletionInvalid: What came is no completion.
    """
    rules = template("summary", language).template
    budget = model.context_tokens - _MAX_TOKENS
    prompt = [
        ChatMessage("system", rules),
        ChatMessage("user", conversation_text(said, language, budget, beside=rules)),
    ]
    stream, sentences = SentenceStream(), []
    pieces = model.complete(
        prompt,
        max_tokens=_MAX_TOKENS,
        usage=usage,
        channel=channel,
        timeout_seconds=SUMMARY_SECONDS,
    )
    async for piece in pieces:
        sentences += stream.feed(piece)
    sentences += stream.close()
    kept = [one for one in sentences if _is_said(one.strip(), said)]
    return "".join(kept[:SENTENCES]).strip()


def _is_said(sentence: str, said: Sequence[HistoryMessage]) -> bool:
    """True where whoever a sentence names as the one who said it did, or else anybody."""
    frame = _FRAME.match(sentence)
    by_customer = frame is not None and bool(frame["customer"] or frame["kehu"])
    # What somebody asks is said too.
    texts = [
        message.text.replace("?", ".").replace("？", "。")
        for message in said
        if frame is None or (message.role == "customer") == by_customer
    ]
    told = sentence[frame.end() :] if frame else sentence
    return bool(told) and check(told, "\n".join(texts)) in ("supported", "foreign")


def _questions(said: Sequence[HistoryMessage]) -> list[str]:
    return [
        one_line(message.text)
        for message in said
        if message.role == "customer" and is_question(message.text)
    ]
